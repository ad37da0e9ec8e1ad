"""What clients call a model."""

from __future__ import annotations

import pytest

from service.contract import check_name
from service.errors import ContractError
from service.naming import parse_model


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("cifar10", "cifar10", None),
        ("cifar10@2026-01-01", "cifar10", "2026-01-01"),
        ("cifar10@", "cifar10", ""),
        ("@v1", "", "v1"),
        ("a@b@c", "a", "b@c"),
    ],
)
def test_a_model_may_name_its_version(text: str, name: str, version: str | None) -> None:
    assert parse_model(text) == (name, version)


def test_no_name_can_be_taken_for_a_name_and_a_version() -> None:
    with pytest.raises(ContractError):
        check_name("cifar10@v1")
