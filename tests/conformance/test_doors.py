"""The doors between the rooms, read from the source itself."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOR_TRAINING = {
    "service.contract",  # what is published
    "service.errors",  # the tree that its own errors join
    "service.session",  # to verify an export with the session that will serve it
    "service.store",  # where what is published goes
    "service.store.audit",
    "service.store.publisher",
    "service.store.signature",
    "service.store.store",
    "service.store.trial",
    "service.loading",  # golden inputs
    "service.images",  # the codec that will decode what the model gets
}
"""What training may import of the service."""


def modules(room: str) -> dict[str, ast.Module]:
    """Every module of a room: dotted name to syntax tree."""
    found = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    assert len(found) > 10
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything that a module imports, at the top or inside: dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield f"dynamic:{ast.unparse(node.args[0])}"


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def importers(room: str, package: str) -> set[str]:
    """Modules of a room that import a package."""
    return {
        module
        for module, tree in modules(room).items()
        if any(under(name, package) for name in imports(tree))
    }


@pytest.mark.parametrize(
    "package", ["training", "triptych", "torch", "onnx", "tests", "matplotlib", "pandas"]
)
def test_the_service_never_imports(package: str) -> None:
    assert importers("service", package) == set()


@pytest.mark.parametrize("package", ["bentoml", "starlette", "tests", "triptych"])
def test_training_never_imports(package: str) -> None:
    assert importers("training", package) == set()


@pytest.mark.parametrize(
    "package", ["service", "training", "tests", "torch", "onnx", "onnxruntime", "bentoml"]
)
def test_the_client_never_imports(package: str) -> None:
    assert importers("triptych", package) == set()


def test_one_module_alone_imports_onnxruntime() -> None:
    assert importers("service", "onnxruntime") == {"service.session"}


def test_one_module_alone_imports_bentoml() -> None:
    assert importers("service", "bentoml") == {"service.app"}


def test_in_training_only_quantisation_touches_onnxruntime() -> None:
    assert importers("training", "onnxruntime") == {"training.quantise.convolution"}


def test_training_takes_from_the_service_what_it_may() -> None:
    known = set(modules("service"))
    for module, tree in modules("training").items():
        taken = {name for name in imports(tree) if name in known and name != "service"}
        assert taken <= FOR_TRAINING, f"{module} imports {sorted(taken - FOR_TRAINING)}"


@pytest.mark.parametrize("room", ["service", "training"])
def test_a_kind_imports_no_other_kind(room: str) -> None:
    package = f"{room}.kinds"
    kinds = {
        module: tree
        for module, tree in modules(room).items()
        if module.startswith(package + ".") and module != f"{package}.base"
    }
    assert len(kinds) >= 3
    for module, tree in kinds.items():
        others = {name for name in imports(tree) if under(name, package)}
        others -= {package, f"{package}.base"}
        assert {name for name in others if not name.startswith(f"{package}.base.")} == set(), module


@pytest.mark.parametrize("room", ["service", "training"])
def test_only_the_package_of_kinds_knows_kinds_by_looking(room: str) -> None:
    """No module names a kind's module: a fourth kind changes no other line."""
    package = f"{room}.kinds"
    for module, tree in modules(room).items():
        if under(module, package):
            continue
        named = {name for name in imports(tree) if name.startswith(package + ".")}
        allowed = {f"{package}.base", f"{package}.kinds"}
        assert {
            name
            for name in named
            if name not in allowed and not name.startswith(f"{package}.base.")
        } == set(), module


def test_importing_the_service_leaves_torch_out(tmp_path: Path) -> None:
    program = (
        "import sys, service.app\n"
        "heavy = {'torch', 'onnx', 'training', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "assert 'service.telemetry.traces' not in sys.modules\n"
        "assert not heavy, heavy\n"
        "assert 'onnxruntime' in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if "TRIPTYCH" not in name},
            "BENTOML_HOME": str(tmp_path),
            "BENTOML_DO_NOT_TRACK": "True",
        },
        check=True,
        timeout=120,
    )


def test_importing_the_client_is_light() -> None:
    program = (
        "import sys, triptych.client, triptych.cli\n"
        "ours = {'service', 'training', 'torch', 'onnx', 'onnxruntime', 'bentoml', 'starlette'}\n"
        "heavy = (ours | {'numpy', 'PIL', 'tqdm'}) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_models_hold_no_code() -> None:
    assert list((ROOT / "models").rglob("*.py")) == []


def test_one_module_alone_imports_opentelemetry() -> None:
    assert importers("service", "opentelemetry") == {"service.telemetry.traces"}
