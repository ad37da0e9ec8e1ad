"""`triptych-train store`: look at a store, and change what is served.

Tables for people; `--json` gives the same to programs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from service.contract import Manifest
from service.errors import ContractError, TriptychError, UnknownNameError
from service.loading import golden
from service.session import Session
from service.store import Store
from service.store.audit import Audit
from service.store.publisher import Publisher
from service.store.trial import Mode, Trial, describe_trial, read_trial
from training.errors import ConfigError, StoreError

DEFAULT_WINDOW_S = 600.0
DEFAULT_REQUESTS = 200

Row = dict[str, Any]


def run_store(arguments: argparse.Namespace) -> None:
    """One action on the store; raises StoreError where `verify` finds something wrong."""
    found = _ACTIONS[arguments.action](Store(arguments.store), arguments)
    if arguments.json:
        print(json.dumps(found, indent=2))
    elif isinstance(found, str):
        print(found)
    elif found:
        print(_table(found))
    if arguments.action == "verify" and any(row["found"] != "whole" for row in found):
        raise StoreError("the store is not sound")


def _list(store: Store, arguments: argparse.Namespace) -> list[Row]:
    """Every version of every model, or of one: who published what when, with which figures."""
    rows: list[Row] = []
    for name in [arguments.model] if arguments.model else store.names():
        served, trial = store.current(name), _running(store, name)
        published = {entry.version: entry.who for entry in _log_of(store, name)}
        for version in store.versions(name):
            row = {"model": name, "version": version, "state": ""}
            if version == served:
                row["state"] = "served"
            elif trial is not None and version == trial.version:
                row["state"] = f"{trial.mode} {trial.share:.3g}"
            try:
                manifest = store.manifest(name, version)
            except ContractError as error:
                rows.append(row | {"state": "broken", "figures": error.message})
                continue
            rows.append(
                row
                | {
                    "created": manifest.created_at,
                    "by": published.get(version, ""),
                    "code": manifest.code_revision[:12],
                    "data": f"{manifest.data.name} {manifest.data.sha256[:8]}",
                    "figures": _headline(manifest),
                }
            )
    return rows


def _show(store: Store, arguments: argparse.Namespace) -> str:
    """A version's whole manifest."""
    version = _version(store, arguments)
    manifest = store.manifest(arguments.model, version)
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode()


def _diff(store: Store, arguments: argparse.Namespace) -> list[Row]:
    """Two versions side by side: figures, files, and answers to the first's golden inputs."""
    name, first = arguments.model, arguments.version
    if first is None:
        raise ConfigError("say which version: --version V [--against W]", field="version")
    second = arguments.against or store.current(name)
    one, two = store.verified(name, first), store.verified(name, second)
    rows: list[Row] = [
        {"what": what, first: a, second: b}
        for what, a, b in (
            ("created", one.created_at, two.created_at),
            ("code", one.code_revision[:12], two.code_revision[:12]),
            ("data", one.data.sha256[:12], two.data.sha256[:12]),
            ("configuration", one.training.config_sha256[:12], two.training.config_sha256[:12]),
            ("precision", one.served.precision, two.served.precision),
            ("graph, bytes", one.files[one.graph].bytes, two.files[two.graph].bytes),
        )
    ]
    for metric in sorted({*one.metrics, *two.metrics}):
        a, b = one.metrics.get(metric), two.metrics.get(metric)
        rows.append({"what": metric, first: _figure(a), second: _figure(b)})
    rows += _answers(store, name, one, two)
    return rows


def _answers(store: Store, name: str, one: Manifest, two: Manifest) -> list[Row]:
    """How far the two graphs' answers to the same golden inputs lie apart."""
    folder = store.folder(name, one.version)
    inputs, _ = golden(folder, one.served.golden_file)
    other = Session(store.folder(name, two.version) / two.graph)
    if set(inputs) != set(other.inputs):
        return [{"what": "answers", one.version: "other inputs", two.version: ""}]
    mine = Session(folder / one.graph).run(inputs)
    theirs = other.run(inputs)
    rows: list[Row] = []
    for output in sorted(set(mine) & set(theirs)):
        a, b = mine[output].astype(np.float64), theirs[output].astype(np.float64)
        said = "other shapes"
        if a.shape == b.shape:
            apart = np.abs(a - b)
            said = f"differ by {apart.mean():.3g} on average, {apart.max():.3g} at most"
        rows.append({"what": f"answers: {output}", one.version: said, two.version: ""})
    return rows


def _promote(store: Store, arguments: argparse.Namespace) -> str:
    """Serve a version at once, or put it on trial first."""
    name, version = arguments.model, arguments.version
    if version is None:
        raise ConfigError("say which version to promote: --version V", field="version")
    publisher = Publisher(store)
    modes: dict[Mode, float | None] = {"canary": arguments.canary, "shadow": arguments.shadow}
    wanted = {mode: share for mode, share in modes.items() if share is not None}
    if len(wanted) > 1:
        raise ConfigError("--canary and --shadow are one or the other", field="shadow")
    for mode, share in wanted.items():
        trial = publisher.start_trial(
            name,
            version,
            mode,
            share=share,
            window_s=arguments.window,
            least_requests=arguments.requests,
        )
        return describe_trial(name, trial)
    publisher.promote(name, version, note=arguments.note)
    return f"{name} serves {version}"


def _roll_back(store: Store, arguments: argparse.Namespace) -> str:
    """Serve the version before this one, or the one named."""
    version = Publisher(store).roll_back(arguments.model, arguments.version, note=arguments.note)
    return f"{arguments.model} serves {version}"


def _stop(store: Store, arguments: argparse.Namespace) -> str:
    """End a trial; the served version stays."""
    trial, blob = read_trial(store.home, arguments.model)
    if trial is None or blob is None or not trial.running:
        raise UnknownNameError(f"{arguments.model} has nothing on trial")
    reason = arguments.note or "stopped by hand"
    Publisher(store).end_trial(arguments.model, trial, blob, "trial stopped", reason)
    return f"{arguments.model}: the trial of {trial.version} is stopped"


def _log(store: Store, arguments: argparse.Namespace) -> list[Row]:
    """What was done, the oldest first."""
    names = [arguments.model] if arguments.model else store.names()
    return [
        {
            "at": entry.at,
            "model": name,
            "action": entry.action,
            "version": entry.version,
            "before": entry.before,
            "who": entry.who,
            "note": entry.note,
        }
        for name in names
        for entry in Audit(store.home, name).entries()
    ]


def _verify(store: Store, arguments: argparse.Namespace) -> list[Row]:
    """Read every file of every version, CURRENT, trials and logs, and say what is wrong."""
    rows: list[Row] = []
    for name in [arguments.model] if arguments.model else store.names():
        checks: list[tuple[str, Callable[[], object]]] = [
            (version, lambda name=name, version=version: store.verified(name, version))  # type: ignore[misc]
            for version in store.versions(name)
        ]
        checks.append(("CURRENT", lambda name=name: _current_is_there(store, name)))  # type: ignore[misc]
        checks.append(("trial", lambda name=name: read_trial(store.home, name)))  # type: ignore[misc]
        checks.append(("log", lambda name=name: Audit(store.home, name).entries()))  # type: ignore[misc]
        for what, check in checks:
            try:
                check()
            except TriptychError as error:
                rows.append({"model": name, "what": what, "found": error.message})
            else:
                rows.append({"model": name, "what": what, "found": "whole"})
    return rows


def _sweep(store: Store, arguments: argparse.Namespace) -> str:
    """Remove what publishers that died have left, and versions beyond --keep."""
    names = [arguments.model] if arguments.model else store.names()
    publisher = Publisher(store, keep=arguments.keep)
    swept = [key for name in names for key in publisher.sweep(name)]
    return "\n".join(f"removed {key}" for key in swept) or "nothing to remove"


_ACTIONS: dict[str, Callable[[Store, argparse.Namespace], Any]] = {
    "list": _list,
    "show": _show,
    "diff": _diff,
    "promote": _promote,
    "rollback": _roll_back,
    "stop": _stop,
    "log": _log,
    "verify": _verify,
    "sweep": _sweep,
}
ACTIONS = tuple(_ACTIONS)
WITH_MODEL = ("show", "diff", "promote", "rollback", "stop")
"""Actions on one model, which must be named."""


def _version(store: Store, arguments: argparse.Namespace) -> str:
    version: str = arguments.version or store.current(arguments.model)
    return version


def _current_is_there(store: Store, name: str) -> None:
    version = store.current(name)
    if version not in store.versions(name):
        raise ContractError(f"CURRENT names {version}, which is not there")


def _running(store: Store, name: str) -> Trial | None:
    trial, _ = read_trial(store.home, name)
    return trial if trial is not None and trial.running else None


def _log_of(store: Store, name: str) -> list[Any]:
    """Who published; a damaged log is for `verify` to tell."""
    try:
        return [e for e in Audit(store.home, name).entries() if e.action == "published"]
    except ContractError:
        return []


def _headline(manifest: Manifest) -> str:
    """The figures that the gate judged."""
    return ", ".join(f"{c.metric} {c.value:.4g}" for c in manifest.gate.checks)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _table(rows: list[Row]) -> str:
    """Columns wide enough for what is in them."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, *([str(row.get(key, "")) for key in keys] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(keys))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
