"""What the security page promises, held against the sources: nothing is unpickled, fetched or
evaluated, and every limit of its table is the code's and has a test.
"""

from __future__ import annotations

import ast
import io
import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from service import errors
from service.errors import ContractError
from service.http import connection
from service.loading import golden, load
from service.settings import PREFIX, Settings
from tests.conformance.test_doors import imports, modules, under
from tests.conftest import ROOT
from tests.service.variants import copy_store, make_variant

PAGE = ROOT / "docs" / "security.md"
UNPICKLES = ("pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "torch")
FETCHES = ("urllib.request", "http.client", "requests", "httpx", "aiohttp", "urllib3", "ftplib")
EVALUATES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_the_service_imports_nothing_that_unpickles_or_fetches() -> None:
    for module, tree in modules("service").items():
        for name in imports(tree):
            assert not any(under(name, one) for one in (*UNPICKLES, *FETCHES)), (module, name)


def test_the_service_evaluates_nothing_and_starts_no_programs() -> None:
    for module, tree in modules("service").items():
        for called, _ in calls(tree):
            assert called not in EVALUATES, (module, called)
        assert not any(under(name, "subprocess") for name in imports(tree)), module


def test_every_array_is_loaded_without_pickle() -> None:
    found = 0
    for room in ("service", "training"):
        for module, tree in modules(room).items():
            for called, call in calls(tree):
                allowed = [word for word in call.keywords if word.arg == "allow_pickle"]
                if called in ("np.load", "numpy.load") and room == "service":
                    found += 1
                    assert allowed, f"{module}: say allow_pickle=False"
                for word in allowed:
                    assert ast.unparse(word.value) == "False", module
    assert found >= 1


class Bomb:
    """Whoever unpickles this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self._mark,)  # type: ignore[return-value]


def write_bomb(path: Path, mark: Path) -> None:
    payload = np.array([Bomb(mark)], dtype=np.object_)
    with path.open("wb") as file:
        np.savez(file, **{"input.image": payload, "output.probability": payload})


def test_a_pickle_among_the_golden_outputs_is_refused_unopened(
    tiny_store: Path, tmp_path: Path
) -> None:
    """By a version that is whole in all else: its hashes are those of the files."""
    mark = tmp_path / "mark"
    store = copy_store(tiny_store, tmp_path / "store")
    candidate = make_variant(
        store, "cifar10", "evil", tmp_path / "candidate",
        change=lambda folder: write_bomb(folder / "golden.npz", mark),
    )  # fmt: skip
    with pytest.raises(ContractError, match="golden"):
        golden(candidate)
    shutil.copytree(candidate, Path(store.home.location) / "cifar10" / "evil")
    with pytest.raises(ContractError, match="golden"):
        load(store, "cifar10", "evil", provider="cpu", warm_rows=(1,))
    assert not mark.exists()
    assert pickle.loads(pickle.dumps(Bomb(mark))) is None, "it would have gone off"
    assert mark.exists()


def test_a_pickle_in_the_place_of_the_archive_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name, raw in (("golden.npz", pickle.dumps(Bomb(mark))), ("golden.npy", b"")):
        buffer = io.BytesIO(raw)
        if not raw:
            np.save(buffer, np.array([Bomb(mark)], dtype=np.object_))
        (tmp_path / name).write_bytes(buffer.getvalue())
        with pytest.raises(ContractError):
            golden(tmp_path, name)
    assert not mark.exists()


# --- the table of limits --------------------------------------------------------------------


def rows() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"<!-- limits -->\n(.*?)\n\n", text, flags=re.DOTALL)
    assert found is not None
    lines = found[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


CONSTANTS = {
    "MAX_ADDRESS_BYTES": connection.MAX_ADDRESS_BYTES,
    "MAX_HEADERS": connection.MAX_HEADERS,
    "MAX_PIPELINED": connection.MAX_PIPELINED,
    "MAX_GRPC_CALLS": connection.MAX_GRPC_CALLS,
}


def test_the_table_says_what_the_code_does() -> None:
    defaults = {f"`{PREFIX}{one.name.upper()}`": one.default for one in fields(Settings)}
    settings = 0
    for limit, where, default, answer, _ in rows():
        number = default.strip("`").replace(",", "").split(" ")[0]
        if where in defaults:
            settings += 1
            assert float(number) == float(defaults[where]), limit
        elif where.strip("`") in CONSTANTS:
            assert int(number) == CONSTANTS[where.strip("`")], limit
        statuses = {one.status for one in vars(errors).values()
                    if isinstance(one, type) and issubclass(one, errors.TriptychError)}  # fmt: skip
        for code in re.findall(r"\b[45]\d\d\b", answer):
            assert int(code) in statuses, (limit, code)
    assert settings >= 15


def test_the_table_has_every_limit_of_the_settings() -> None:
    named = {where for _, where, *_ in rows()}
    for one in fields(Settings):
        if one.name.startswith("max_") and one.name != "max_batch_rows":
            assert f"`{PREFIX}{one.name.upper()}`" in named, one.name


def test_every_test_that_the_page_names_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= 40
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        known = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in known, f"{path} has no {name}"
    for *_, test in rows():
        assert "::" in test
