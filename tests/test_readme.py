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
