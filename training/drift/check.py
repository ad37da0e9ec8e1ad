"""New labelled data before they are trained on: do they fit what is there?

What is asked: a schema that the model knows (classes; characters), a balance of classes near that
of the training split, and features that are distributed as there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from training.data.addition import NewImages, NewText
from training.data.sets import ImageData
from training.data.text import TextData
from training.drift.profile import profile_images, profile_text
from training.measures.drift import (
    FEWEST_EXPECTED,
    Drift,
    Limits,
    Profile,
    Verdict,
    compare,
    share_differs,
)

SHOWN = 8  # names in one message


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A class' share of the new data beside its share of the training split."""

    name: str
    count: int
    share: float
    reference: float
    verdict: Verdict


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """`data-check.json`: what was found, and what of it is too much."""

    source: str
    sha256: str
    examples: int
    """Images, or characters."""
    reference: str
    reference_sha256: str
    verdict: Literal["fine", "refused"]
    problems: tuple[str, ...]
    """Which figures are outside, and by how much."""
    notes: tuple[str, ...]
    shares: tuple[Share, ...]
    drift: tuple[Drift, ...]
    limits: Limits


def check_images(new: NewImages, data: ImageData, limits: Limits) -> tuple[Check, Profile, Profile]:
    """The check, and the profiles (reference, new) that it compared."""
    known = [name in data.classes for name in new.names]
    unknown = Counter(name for name in new.names if name not in data.classes)
    problems = [
        f"class {name!r} ({count} images) is not known; there is {_listed(data.classes)}"
        for name, count in sorted(unknown.items())
    ]
    if new.outside:
        problems.append(
            f"{len(new.outside)} images lie in no class' folder, e.g. {new.outside[0]!r}; "
            "put each into <class>/"
        )
    labels = [name for name in new.names if name in data.classes]
    shares = _shares(labels, data, limits)
    expected = profile_images(data.train.images, data.train.labels, data.classes)
    observed = profile_images(
        new.images[np.array(known, np.bool_)],
        np.array([data.classes.index(name) for name in labels], np.int64),
        data.classes,
    )
    drift = compare(expected, observed, limits)
    check = _check(new, len(new.names), data, problems, shares, drift, limits)
    return check, expected, observed


def check_text(new: NewText, data: TextData, limits: Limits) -> tuple[Check, Profile, Profile]:
    """The check, and the profiles (reference, new) that it compared."""
    unknown = Counter(new.text)
    for character in data.vocabulary:
        unknown.pop(character, None)
    problems = []
    if unknown:
        count = unknown.total()
        problems.append(
            f"{count:,} of {len(new.text):,} characters ({count / len(new.text):.2%}) are not in "
            f"the vocabulary: {_listed([repr(name) for name, _ in unknown.most_common()])}"
        )
    expected, observed = profile_text(data.train), profile_text(new.text)
    drift = compare(expected, observed, limits)
    return _check(new, len(new.text), data, problems, (), drift, limits), expected, observed


def _check(
    new: NewImages | NewText,
    examples: int,
    data: ImageData | TextData,
    problems: Sequence[str],
    shares: Sequence[Share],
    drift: Sequence[Drift],
    limits: Limits,
) -> Check:
    far = [describe_share(one, limits) for one in shares if one.verdict == "drift"]
    drifted = [describe_drift(one, limits) for one in drift if one.verdict == "drift"]
    found = (*problems, *far, *drifted)
    return Check(
        source=new.source,
        sha256=new.sha256,
        examples=examples,
        reference=data.name,
        reference_sha256=data.sha256,
        verdict="refused" if found else "fine",
        problems=found,
        notes=(
            *(describe_share(one, limits) for one in shares if one.verdict == "note"),
            *(describe_drift(one, limits) for one in drift if one.verdict == "note"),
        ),
        shares=tuple(shares),
        drift=tuple(drift),
        limits=limits,
    )


def describe_drift(one: Drift, limits: Limits) -> str:
    """A feature that has moved, in words."""
    means = "" if one.reference is None else f", mean {one.found:.4g}, was {one.reference:.4g}"
    return f"{one.feature}: PSI {one.psi:.3f}, {limits.psi_refuse:g} is too much{means}"


def describe_share(one: Share, limits: Limits) -> str:
    """A class whose share is another one, in words."""
    if not one.count:
        return f"class {one.name!r} is missing; it is {one.reference:.1%} of the training split"
    return (
        f"class {one.name!r} is {one.share:.1%} of the new data and {one.reference:.1%} of the "
        f"training split; {limits.share_ratio:g} times is too much"
    )


def _shares(labels: Sequence[str], data: ImageData, limits: Limits) -> tuple[Share, ...]:
    counts, total = Counter(labels), len(labels)
    reference_C = np.bincount(data.train.labels, minlength=len(data.classes))
    share_C = reference_C / reference_C.sum()
    significance = limits.significance / len(data.classes)
    found = []
    for name, reference in zip(data.classes, share_C.tolist(), strict=True):
        count = counts[name]
        share = count / total if total else 0.0
        low, high = reference / limits.share_ratio, reference * limits.share_ratio
        verdict: Verdict = "fine"
        if not low <= share <= high:
            # A handful of images cannot show every class.
            is_clear = total * max(share, reference) >= FEWEST_EXPECTED and share_differs(
                count, total, reference, significance
            )
            verdict = "drift" if is_clear else "note"
        found.append(
            Share(name=name, count=count, share=share, reference=reference, verdict=verdict)
        )
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
