"""What the reports show is what was measured, and they load nothing from elsewhere."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.bench.load import report, soak
from tests.bench.load.capacity import _endpoint, compare_with_queue
from tests.bench.load.costs import cost_of
from tests.bench.load.orders import Record
from tests.bench.load.overload import judge, together
from tests.bench.load.search import Search
from tests.bench.load.step import Demand, summarise
from tests.bench.load.targets import Target, disturbances, find_targets
from tests.bench.machine import describe_machine

ONE = Target("classify", "classify, one JPEG", "/", "image/jpeg", (b"",))
TEXT = Target("stream", "completions", "/", "application/json", (b"",), judged="first")
MODELS = [
    {"id": "cifar10", "kind": "cnn", "version": "1", "precision": "int8", "vocabulary": "",
     "labels": ["cat", "dog"], "inputs": [{"name": "image", "shape": ["N", 8, 8, 3]}]},
    {"id": "shakespeare", "kind": "lstm", "version": "2", "precision": "int8", "vocabulary": "ab",
     "labels": [], "inputs": []},
    {"id": "cifar10-gan", "kind": "gan", "version": "3", "precision": "float32", "vocabulary": "",
     "labels": ["cat", "dog"], "inputs": []},
]  # fmt: skip


def record(rate: float, latency_s: float, duration_s: float, kinds: int = 1) -> Record:
    """Every request was answered after `latency_s`, its first event after half of it."""
    due_s = np.arange(int(rate * duration_s)) / rate
    count = len(due_s)
    return Record(
        due_s, np.arange(count) % kinds, due_s, due_s, due_s + latency_s / 2, due_s + latency_s,
        np.full(count, 200), np.zeros(count, dtype=bool), duration_s, 0.1 * duration_s,
    )  # fmt: skip


def point(demand: Demand, rate: float, latency_s: float) -> dict:
    made = record(rate, latency_s, 11.0, len(demand.targets))
    return summarise(made, demand, rate, 10.0)


@pytest.fixture(scope="module")
def measured() -> dict:
    alone, mixed = Demand([ONE], [1.0]), Demand([ONE, TEXT], [0.5, 0.5])
    found = []
    for name, title, demand in (("classify", ONE.title, alone), ("mix", "a mix", mixed)):
        points = [point(demand, rate, latency) for rate, latency in
                  ((30.0, 0.01234), (60.0, 0.0456), (90.0, 0.789))]  # fmt: skip
        points[0]["other_cores"] = 0.25
        search = Search(60.0, "objective", points, [points[1]] * 3)
        found.append(_endpoint(name, title, demand, search))
    runs = {"rows": [1, 2, 4], "seconds": [0.012, 0.022, 0.042]}
    cost = cost_of({"model": "cifar10", "kind": "cnn", "precision": "int8"}, runs,
                   [{"endpoint": "classify", "rows": 2.0, "seconds": 0.033}])  # fmt: skip
    beyond = judge(
        together([found[0]["points"][2]] * 2, "classify"),
        "classify",
        most_goodput=100.0,
        bound_ms=75.0,
    )
    return {
        "machine": describe_machine(),
        "models": [{"id": "cifar10", "kind": "cnn", "version": "v<1>", "precision": "int8"}],
        "service": "one worker",
        "settings": {},
        "step_s": 10.0,
        "repeats": 3,
        "endpoints": found,
        "seen": [],
        "overload": [
            {"title": "as it comes", "settings": {"max_queue_ms": 2000.0}, "steps": [beyond]}
        ],
        "costs": [cost],
        "queueing": [compare_with_queue(found[0], "classify", cost, 4)],
    }


@pytest.fixture(scope="module")
def page(measured) -> str:
    return report.page(measured)


class Seen(HTMLParser):
    """Cells, pictures and the report within; every element that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.pictures: list[str] = []
        self.links: list[str] = []
        self.data = ""
        self._open: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.links += [names[key] for key in ("src", "href") if key in names]
        if tag == "img":
            assert names["alt"]
            self.pictures.append(names["src"])
        elif tag != "meta":
            self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] in ("td", "th"):
            self.cells[-1] += data
        elif self._open and self._open[-1] == "script":
            self.data += data

    def close(self):
        super().close()
        assert self._open == []


def read(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    seen.close()
    return seen


def test_the_page_shows_the_numbers_of_its_report(measured, page):
    seen = read(page)
    assert json.loads(seen.data) == measured
    for endpoint in measured["endpoints"]:
        assert f"{endpoint['highest']:,.1f}" in seen.cells
        for one in endpoint["points"]:
            for part in one["parts"].values():
                assert part["p99_ms"] > 0
        assert f"{endpoint['points'][1]['parts']['classify']['p99_ms']:,.1f}" in seen.cells
    cost = measured["costs"][0]
    assert {f"{cost['a_ms']:.4f}", f"{cost['b_ms']:.4f}"} <= set(seen.cells)
    assert "1.50 x (median of 1 steps)" in seen.cells
    assert "2.0000" in seen.cells
    assert {"yes", "no", "not measured"} <= set(seen.cells)
    assert "v&lt;1&gt;" in page


def test_the_page_is_whole_and_loads_nothing(page):
    seen = read(page)
    assert len(seen.pictures) == 3  # two curves and a line
    assert all(link.startswith("data:image/svg+xml;base64,") for link in seen.links)
    for picture in seen.pictures:
        drawn = base64.b64decode(picture.partition(",")[2]).decode()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
    curve = base64.b64decode(seen.pictures[0].partition(",")[2]).decode()
    for words in ("p50", "p90", "p99", "objective, p99 of 50 ms", "highest rate, 60/s"):
        assert words in curve


def test_the_same_report_makes_the_same_page(measured, page):
    assert report.page(measured) == page


def test_what_is_written(measured, tmp_path, capsys):
    report.write(measured, tmp_path, "capacity")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "capacity.html", "capacity.json", "capacity.md", "capacity.png",
    ]  # fmt: skip
    assert json.loads((tmp_path / "capacity.json").read_text()) == measured
    text = (tmp_path / "capacity.md").read_text()
    assert text in capsys.readouterr().out
    assert "| classify, one JPEG | 50 ms | 60.0 | 45.6 ms |" in text
    # 100, 500 and 2,000 a second by seven tenths of 60.
    assert "| classify, one JPEG | 3 | 12 | 48 |" in text
    assert "The mix: 50% classify, 50% stream" in text
    assert "The machine was not quiet: everything else on it took 0.25 cores" in text


def test_every_table_has_cells_for_its_columns(measured):
    for table in re.findall(r"(?:^\|.*\n)+", report.markdown(measured), flags=re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_the_brief_for_the_readme(measured):
    text = report.brief(measured)
    assert "| a mix | classify 50 ms, stream 50 ms | 60.0 |" in text
    assert "At twice those rates (as it comes): 2 of 3 promises kept" in text


def test_targets_of_the_models_that_are_there():
    targets = find_targets(MODELS, {"classify": 20.0})
    assert list(targets) == ["classify", "infer", "completions", "stream", "sample"]
    assert targets["classify"].objective_ms == 20
    (wire,) = targets["completions"].requests("somewhere")
    head, _, body = wire.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/completions HTTP/1.1\r\nhost: somewhere\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["prompt"] == "a", "a prompt of characters that the model knows"
    assert [target.name for target in disturbances(targets)] == ["no image", "no JSON", "leaving"]
    only = find_targets(MODELS[2:], {})
    assert list(only) == ["sample"]
    assert disturbances(only) == []
    with pytest.raises(ValueError, match="there is no endpoint 'paint'; there is classify"):
        find_targets(MODELS, {"paint": 1.0})


# --- the long load ------------------------------------------------------------------------


def long_load(*, growth_mib: float = 0.0, leak: int = 0, drift: float = 1.0) -> dict:
    """An hour, looked at every minute."""
    samples = [
        {"at_s": 60.0 * number, "pss_mib": 200 + growth_mib * number / 60 + number % 3,
         "descriptors": 90 + number % 4 + leak * number, "connections": 10.0, "threads": 20.0}
        for number in range(60)
    ]  # fmt: skip
    windows = [
        {"at_s": 60.0 * number,
         "p99_ms": {"classify": 20 * (1 + (drift - 1) * number / 60), "stream": None}}
        for number in range(60)
    ]  # fmt: skip
    demand = Demand([ONE], [1.0])
    return {
        "machine": describe_machine(),
        "models": [{"id": "cifar10", "version": "1", "precision": "int8"}],
        "service": "one worker",
        "rate": 100.0,
        "duration_s": 3600.0,
        "samples": samples,
        "step": point(demand, 30.0, 0.01),
        "windows": windows,
    }


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"growth_mib": 40.0}, ["memory (PSS) of all processes, slope"]),
        ({"leak": 1}, ["descriptors, clients' connections apart, least of the last third"]),
        ({"drift": 2.0}, ["classify, p99 of the last third"]),
    ],
)
def test_a_soak_finds_what_grows(changed, missed):
    found = long_load(**changed)
    verdicts = soak.verdicts(found)
    assert [one["what"] for one in verdicts if not one["reached"]] == missed
    assert len(verdicts) == 5
    found["verdicts"] = verdicts
    seen = read(soak.page(found))
    assert json.loads(seen.data) == found
    assert len(seen.pictures) == 3
    assert f"of {found['step']['sent']:,}" in soak.markdown(found)


def test_p99_by_stretches_of_time():
    made = record(100, 0.02, 21.0)
    made.last_s[made.due_s >= 11] += 0.1
    stay = soak.Stay(20.0, 10.0, 100.0)
    stretches = soak.windows(made, Demand([ONE], [1.0]), stay)
    assert [one["at_s"] for one in stretches] == [1, 11]
    assert [one["p99_ms"]["classify"] for one in stretches] == pytest.approx([20, 120])
