"""A version on trial: it gets a share of traffic, or copies of it, before it gets all.

`<name>/TRIAL` says so. Beside it, in `<name>/.trial/`, every worker leaves what it has seen of both
versions, so that one verdict can be had over all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from service.errors import ContractError
from service.store.home import TRIAL_FILE, Blob, Home

Mode = Literal["canary", "shadow"]


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`TRIAL`: what is on trial, against what, and how it ends.

    A canary answers `share` of the requests; a shadow's answers to as many are thrown away. After
    `window_s` seconds a canary is promoted and a shadow's trial ends, if `least_requests` were
    seen and all is well; a canary that is not well is taken back at once.
    """

    state: Literal["running", "passed", "failed", "stopped"] = "running"
    mode: Mode
    version: str
    against: str
    share: float
    window_s: float
    least_requests: int
    started_at: str
    who: str
    reason: str = ""

    @property
    def ends_at(self) -> datetime:
        """When the window has passed."""
        return datetime.fromisoformat(self.started_at) + timedelta(seconds=self.window_s)

    @property
    def running(self) -> bool:
        """Whether it has no verdict yet."""
        return self.state == "running"


_decoder = msgspec.json.Decoder(Trial)


def new_trial(
    mode: Mode,
    version: str,
    against: str,
    *,
    share: float,
    window_s: float,
    least_requests: int,
    who: str,
) -> Trial:
    """A trial that begins now."""
    return Trial(
        mode=mode,
        version=version,
        against=against,
        share=share,
        window_s=window_s,
        least_requests=least_requests,
        started_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f+00:00}",
        who=who,
    )


def describe_trial(name: str, trial: Trial) -> str:
    """What is going on, in a line."""
    return (
        f"{name}: {trial.version} is on trial against {trial.against} as a {trial.mode} with "
        f"{trial.share:.3g} of the requests, for {trial.window_s:g} s and "
        f"{trial.least_requests} requests at least"
    )


def scores_folder(name: str) -> str:
    """Where workers leave what they saw of a model's trial."""
    return f"{name}/.trial"


def trial_key(name: str) -> str:
    """Where a model's trial is written down."""
    return f"{name}/{TRIAL_FILE}"


def read_trial(home: Home, name: str) -> tuple[Trial | None, Blob | None]:
    """The model's last trial and what it was read from; raises ContractError if it is malformed."""
    blob = home.read(trial_key(name))
    if blob is None:
        return None, None
    try:
        trial = _decoder.decode(blob.content)
        _ = trial.ends_at
    except (msgspec.MsgspecError, ValueError) as error:
        raise ContractError(f"{home.location}/{trial_key(name)}: {error}") from error
    return trial, blob


def encode_trial(trial: Trial) -> bytes:
    """JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(trial), indent=2) + b"\n"
