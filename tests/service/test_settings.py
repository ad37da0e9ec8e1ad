"""Settings come from the environment, and a mistake in them is named."""

from __future__ import annotations

import os

import pytest

from service.errors import SettingsError
from service.settings import PREFIX, Settings, table, usable_cores


def read(**variables: str) -> Settings:
    return Settings.from_environment(variables)


def test_defaults_hold_where_nothing_is_set() -> None:
    others = {"TRIPTYCH_URL": "http://localhost:3000", "TRIPTYCH_API_KEY": "a client's"}
    settings = read(PATH="/bin", TRIPTYCH_DATA="/data", **others)
    assert settings == Settings()


def test_each_type_is_parsed() -> None:
    settings = read(
        TRIPTYCH_STORE="/srv/models",
        TRIPTYCH_PROVIDER="cuda",
        TRIPTYCH_MAX_BODY_BYTES="4096",
        TRIPTYCH_REQUEST_TIMEOUT_S="2.5",
        TRIPTYCH_WATCH="false",
    )
    assert settings.store == "/srv/models"
    assert settings.provider == "cuda"
    assert settings.max_body_bytes == 4096
    assert settings.request_timeout_s == 2.5
    assert settings.watch is False


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("TRIPTYCH_WORKER", "TRIPTYCH_WORKERS"),
        ("TRIPTYCH_MAX_BATCHROWS", "TRIPTYCH_MAX_BATCH_ROWS"),
        ("TRIPTYCH_STOER", "TRIPTYCH_STORE"),
        ("TRIPTYCH_workers", "TRIPTYCH_"),
        ("TRIPTYCH_", "TRIPTYCH_"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest(misspelt: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean {nearest}") as caught:
        read(**{misspelt: "1"})
    assert caught.value.field == misspelt
    assert misspelt in caught.value.message


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TRIPTYCH_WORKERS", "two"),
        ("TRIPTYCH_WORKERS", "1.5"),
        ("TRIPTYCH_WORKERS", ""),
        ("TRIPTYCH_WORKERS", "0"),
        ("TRIPTYCH_WORKERS", "-1"),
        ("TRIPTYCH_THREADS", "-1"),
        ("TRIPTYCH_MAX_BATCH_ROWS", "0"),
        ("TRIPTYCH_MAX_BODY_BYTES", "1023"),
        ("TRIPTYCH_REQUEST_TIMEOUT_S", "-0.1"),
        ("TRIPTYCH_REQUEST_TIMEOUT_S", "nan"),
        ("TRIPTYCH_REQUEST_TIMEOUT_S", "inf"),
        ("TRIPTYCH_WATCH", "maybe"),
        ("TRIPTYCH_PROVIDER", "tpu"),
        ("TRIPTYCH_STORE", ""),
    ],
)
def test_a_bad_value_is_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=variable) as caught:
        read(**{variable: text})
    assert caught.value.field == variable
    assert repr(text) in caught.value.message


def test_minima_themselves_are_allowed() -> None:
    assert read(TRIPTYCH_WORKERS="1", TRIPTYCH_REQUEST_TIMEOUT_S="0").request_timeout_s == 0


def test_lanes_are_the_threads_or_the_cores_shared_among_workers() -> None:
    assert read(TRIPTYCH_THREADS="3").lanes == 3
    assert read(TRIPTYCH_WORKERS="1").lanes == usable_cores()
    assert read(TRIPTYCH_WORKERS="10000").lanes == 1


def test_usable_cores_are_capped_by_affinity() -> None:
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, everything)


@pytest.mark.parametrize(
    ("v2", "v1", "cores"), [(2.5, None, 2), (None, 3.0, 3), (0.5, None, 1), (None, None, 8)]
)
def test_usable_cores_are_capped_by_the_quota(
    monkeypatch: pytest.MonkeyPatch, v2: float | None, v1: float | None, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("service.settings._cgroup_v2_quota", lambda: v2)
    monkeypatch.setattr("service.settings._cgroup_v1_quota", lambda: v1)
    assert usable_cores() == cores


def test_the_table_has_every_setting() -> None:
    lines = table().splitlines()[2:]
    fields = Settings.__dataclass_fields__
    assert len(lines) == len(fields)
    for line, name in zip(lines, fields, strict=True):
        assert line.startswith(f"| `{PREFIX}{name.upper()}` |")
