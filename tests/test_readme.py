"""The README tells the truth: its figures are what the repository's files say."""

from __future__ import annotations

from pathlib import Path

from tests.bench.readme import OBSERVABILITY, README, WATCHED, render

ROOT = Path(__file__).parents[1]


def test_fields_and_metrics_are_those_of_the_code(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = OBSERVABILITY.read_text(encoding="utf-8")
    assert render(text, WATCHED) == text, f"{OBSERVABILITY} is out of date: run `make figures`"


def test_figures_are_those_of_the_files(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = README.read_text(encoding="utf-8")
    assert render(text) == text, "README.md is out of date: run `make figures`"


def test_every_linked_file_exists(monkeypatch):
    import re

    monkeypatch.chdir(ROOT)
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not Path(link).exists()] == []


def test_every_test_that_holds_a_promise_exists(monkeypatch):
    import re

    monkeypatch.chdir(ROOT)
    text = README.read_text(encoding="utf-8")
    table = text.partition("## What holds it")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 30
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests, f"nothing holds it: {row}"
        for path, name in tests:
            assert re.search(rf"def {name}\(", Path(path).read_text(encoding="utf-8")), (path, name)
