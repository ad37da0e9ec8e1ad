"""What was found, for people (Markdown with plots, a table to print) and for programs (JSON)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec
import numpy as np

from training.drift.check import Check, describe_drift
from training.drift.profile import Columns
from training.markdown import bullets, document, picture, table
from training.measures.drift import Drift, Limits, Profile
from training.plots.drift import plot_psi, plot_scores, plot_shares, plot_values

CHECK, REPORT = "data-check", "drift"
FEWEST_ROWS = 50  # of traffic; fewer say nothing of a distribution in tenths


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day of traffic."""

    date: date
    rows: int
    score_median: float | None


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """`drift.json`: live traffic beside the data that the served version was trained on."""

    model: str
    version: str
    rows: int
    rows_by_version: dict[str, int]
    days: tuple[Day, ...]
    drifted: tuple[str, ...]
    """Which figures are outside, and by how much."""
    notes: tuple[str, ...]
    drift: tuple[Drift, ...]
    limits: Limits


def format_drift(drift: Sequence[Drift]) -> str:
    """A table to print."""
    lines = [f"  {'':<14}{'training':>10}{'now':>10}{'PSI':>9}{'p':>11}"]
    for one in drift:
        before, now = ("" if mean is None else f"{mean:.4f}" for mean in (one.reference, one.found))
        verdict = "" if one.verdict == "fine" else f"  {one.verdict}"
        p = _probability(one.p_value)
        lines.append(f"  {one.feature:<14}{before:>10}{now:>10}{one.psi:>9.3f}{p:>11}{verdict}")
    return "\n".join(lines)


def format_check(check: Check) -> str:
    """The check to print: verdict, class shares, features."""
    lines = [f"{check.source} against {check.reference}: {check.verdict} ({check.examples:,})"]
    lines += [
        f"  {one.name:<14}{one.count:>10,}{one.share:>10.1%}  of the training {one.reference:.1%}"
        + ("" if one.verdict == "fine" else f"  {one.verdict}")
        for one in check.shares
    ]
    return "\n".join([*lines, format_drift(check.drift)])


def write_check(check: Check, expected: Profile, observed: Profile, folder: Path) -> Path:
    """Write `data-check.json`, `data-check.md` and plots; returns the page."""
    rows = [
        (one.name, f"{one.count:,}", f"{one.share:.1%}", f"{one.reference:.1%}", one.verdict)
        for one in check.shares
    ]
    head = ("Class", "Images", "Share", "Of the training split", "Verdict")
    page = document(
        [
            (
                f"Check of {check.source}: {check.verdict}",
                [
                    f"{check.examples:,} new examples (sha256 `{check.sha256}`) beside "
                    f"{check.reference} (sha256 `{check.reference_sha256}`)."
                ],
            ),
            ("Why it is refused", [bullets(check.problems)] if check.problems else []),
            ("Notes", [bullets(check.notes)] if check.notes else []),
            ("Classes", [table(head, rows)] if rows else []),
            ("Features", _features(check.drift, check.limits, expected, observed, folder)),
        ]
    )
    return _write(folder, CHECK, check, page)


def make_report(
    model: str, version: str, rows: Columns, drift: Sequence[Drift], limits: Limits
) -> DriftReport:
    """Sum up what `drift` and the rows say."""
    count = len(rows["day"])
    by_day: dict[date, list[float]] = {day: [] for day in sorted(set(rows["day"]))}
    for day, score in zip(rows["day"], rows.get("score", [None] * count), strict=True):
        if score is not None:
            by_day[day].append(score)
    counts = Counter(rows["day"])
    is_enough = count >= FEWEST_ROWS
    too_few = (f"{count} rows are too few to judge; {FEWEST_ROWS} would do",)
    found = tuple(describe_drift(one, limits) for one in drift if one.verdict == "drift")
    noted = tuple(describe_drift(one, limits) for one in drift if one.verdict == "note")
    return DriftReport(
        model=model,
        version=version,
        rows=count,
        rows_by_version=dict(Counter(one for one in rows.get("version", ()) if one)),
        days=tuple(
            Day(
                date=day,
                rows=counts[day],
                score_median=float(np.median(scores)) if scores else None,
            )
            for day, scores in by_day.items()
        ),
        drifted=found if is_enough else (),
        notes=noted if is_enough else (*too_few, *found, *noted),
        drift=tuple(drift),
        limits=limits,
    )


def write_report(
    report: DriftReport, expected: Profile, observed: Profile, rows: Columns, folder: Path
) -> Path:
    """Write `drift.json`, `drift.md` and plots; returns the page."""
    scored = [
        (day, score)
        for day, score in zip(rows["day"], rows.get("score", ()), strict=False)
        if score is not None
    ]
    confidence = []
    if scored:
        plot_scores([day for day, _ in scored], [score for _, score in scored], folder / "days.png")
        confidence = [picture("days.png", "Probability of the answers from day to day")]
    days = [
        (
            one.date.isoformat(),
            f"{one.rows:,}",
            "" if one.score_median is None else f"{one.score_median:.3f}",
        )
        for one in report.days
    ]
    versions = ", ".join(f"{name} ({rows:,})" for name, rows in report.rows_by_version.items())
    page = document(
        [
            (
                f"Traffic of {report.model}: {'drift' if report.drifted else 'no drift'}",
                [
                    f"{report.rows:,} rows beside the training data of version {report.version}"
                    + (f"; answered by {versions}." if versions else ".")
                ],
            ),
            ("What has drifted", [bullets(report.drifted)] if report.drifted else []),
            ("Notes", [bullets(report.notes)] if report.notes else []),
            ("Features", _features(report.drift, report.limits, expected, observed, folder)),
            (
                "Day by day",
                [table(("Day", "Rows", "Median probability of the answer"), days), *confidence],
            ),
        ]
    )
    return _write(folder, REPORT, report, page)


def _features(
    drift: Sequence[Drift], limits: Limits, expected: Profile, observed: Profile, folder: Path
) -> list[str]:
    rows = [
        (
            one.feature,
            "" if one.reference is None else f"{one.reference:.4f}",
            "" if one.found is None else f"{one.found:.4f}",
            f"{one.psi:.3f}",
            f"{one.test}, p {_probability(one.p_value)}",
            one.verdict,
        )
        for one in drift
    ]
    if not rows:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    indices = {one.feature: one.psi for one in drift}
    plot_psi(indices, folder / "psi.png", note=limits.psi_note, refuse=limits.psi_refuse)
    blocks = [
        table(("Feature", "Training mean", "Mean now", "PSI", "Test", "Verdict"), rows),
        f"PSI is noted from {limits.psi_note:g} and too much from {limits.psi_refuse:g}, where the "
        f"test agrees at {limits.significance:g} over all features together.",
        picture("psi.png", "Population stability index by feature"),
    ]
    if any(name in expected.values for name in observed.values):
        plot_values(expected.values, observed.values, folder / "features.png")
        blocks.append(picture("features.png", "Features in the training split and now"))
    for what, counts in observed.counts.items():
        if what in expected.counts:
            plot_shares(expected.counts[what], counts, folder / f"{what}.png", what=what)
            blocks.append(picture(f"{what}.png", f"Share by {what}"))
    return blocks


def _write(folder: Path, name: str, content: msgspec.Struct, page: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(content))
    (folder / f"{name}.json").write_bytes(encoded + b"\n")
    path = folder / f"{name}.md"
    path.write_text(page, encoding="utf-8")
    return path


def _probability(p_value: float) -> str:
    """One that is too small for a float is not 0."""
    return f"= {p_value:.2g}" if p_value >= 1e-99 else "< 1e-99"
