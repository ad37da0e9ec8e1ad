"""A trial as one worker holds it: who answers a request, what is seen, and the verdict.

Every worker of every replica leaves its scores in the store and adds up everybody's; the first
that finds a fault, or the window passed, writes the verdict, and all follow the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import socket
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from service import metrics
from service.answer import Answer, Witness
from service.errors import TriptychError
from service.lease import Served
from service.request_key import APART, request_key
from service.scoreboard import Scores, Side, find_fault
from service.store import Store
from service.store.home import Blob
from service.store.publisher import Publisher
from service.store.trial import Trial, scores_folder
from service.waiting import Arrays

log = logging.getLogger("triptych.contest")

_REPORTS = 20  # in a window
_LONGEST_REPORT_S = 15.0
_MOST_COMPARING = 8  # at once: copies of traffic must not become a second load
_WHEN_THERE_IS_ROOM = 3

_scores = msgspec.json.Decoder(Scores)


class Contest:
    """One model's trial in this worker. Used from one event loop only."""

    def __init__(
        self,
        store: Store,
        name: str,
        trial: Trial,
        blob: Blob,
        incumbent: Served,
        candidate: Served,
    ) -> None:
        self.trial, self.incumbent, self.candidate = trial, incumbent, candidate
        self.scores = Scores()
        self._store, self._name, self._blob = store, name, blob
        self._folder = scores_folder(name)
        # A name of its own for every worker and trial: scores are counted once.
        begun = hashlib.sha256(blob.content).hexdigest()[:12]
        self._prefix = f"{begun}-"
        self._file = f"{begun}-{socket.gethostname()}-{os.getpid()}.json"
        self._comparing: set[asyncio.Task[None]] = set()
        self._judging: asyncio.Task[None] | None = None
        self._changed = True

    def begin(self) -> None:
        """Listen to both versions' answers and judge from time to time."""
        self.incumbent.engine.batcher.witness = self._witness("incumbent")
        self.candidate.engine.batcher.witness = self._witness("candidate")
        metrics.TRIAL.labels(self._name, self.trial.version, self.trial.mode).set(1)
        self._judging = asyncio.create_task(self._judge())

    def end(self) -> None:
        """Stop listening; what is in flight finishes."""
        self.incumbent.engine.batcher.witness = None
        self.candidate.engine.batcher.witness = None
        metrics.TRIAL.labels(self._name, self.trial.version, self.trial.mode).set(0)
        for task in (self._judging, *self._comparing):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    # --- requests -----------------------------------------------------------------------------

    def choose(self, served: Served) -> Served:
        """Who answers the running task's request."""
        if self.trial.mode == "canary" and self._falls_to_candidate():
            return self.candidate
        return served

    def _falls_to_candidate(self) -> bool:
        """The same key falls to the same side in every worker, and to no other with more share."""
        digest = hashlib.blake2b(request_key(), digest_size=8, key=self.trial.version.encode())
        return int.from_bytes(digest.digest(), "big") < self.trial.share * 2**64

    def saw(self, served: Served, latency_s: float, error: BaseException | None) -> None:
        """Count a request that ended."""
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            return  # the client left
        failed = error is not None and not (isinstance(error, TriptychError) and error.status < 500)
        side: Side = "candidate" if served is self.candidate else "incumbent"
        tally = self.scores.candidate if side == "candidate" else self.scores.incumbent
        if self.trial.mode == "canary":
            tally.add(latency_s, failed=failed)
        self._changed = True
        metrics.TRIAL_REQUESTS.labels(self._name, side, "error" if failed else "ok").inc()

    # --- comparing ----------------------------------------------------------------------------

    def _witness(self, side: Side) -> Witness:
        """What a batcher calls with the inputs and outputs of every request it answered."""

        def witness(inputs: Arrays, answer: Answer) -> None:
            wanted = self.incumbent.engine.compared
            if APART.get():
                return
            if wanted not in answer.outputs or len(self._comparing) >= _MOST_COMPARING:
                return
            if self.trial.mode == "shadow":
                if side == "candidate" or not self._falls_to_candidate():
                    return
            elif side == "incumbent":
                return
            task = asyncio.create_task(self._compare(side, inputs, answer, wanted))
            self._comparing.add(task)
            task.add_done_callback(self._comparing.discard)

        return witness

    async def _compare(self, side: Side, inputs: Arrays, first: Answer, wanted: str) -> None:
        """Run the same inputs through the other version, when there is room, and compare."""
        other = self.incumbent if side == "candidate" else self.candidate
        batcher = other.engine.batcher
        try:
            second = await batcher.submit(
                inputs, (wanted,), timeout_s=10.0, priority=_WHEN_THERE_IS_ROOM, witnessed=False
            )
        except TriptychError:  # no room; or the inputs are not ones it takes
            return
        except Exception as error:
            log.warning("%s: %s fails on a copy of a request: %s", self._name, other, error)
            self.scores.failed_comparisons += other is self.candidate
            self._changed = True
            return
        mine, theirs = (first, second) if side == "candidate" else (second, first)
        if self.trial.mode == "shadow":
            # Of a copy the graph's own time counts: it waits for room, which a request does not.
            self.scores.candidate.add(mine.inference_s, failed=False)
            self.scores.incumbent.add(theirs.inference_s, failed=False)
        candidate, incumbent = mine.outputs[wanted], theirs.outputs[wanted]
        rows = len(candidate)
        alike, confidence, usual = self.incumbent.engine.compare(candidate, incumbent)
        self.scores.compared_rows += rows
        self.scores.agreed_rows += alike * rows
        self.scores.candidate_confidence += confidence * rows
        self.scores.incumbent_confidence += usual * rows
        self._changed = True

    # --- the verdict --------------------------------------------------------------------------

    async def _judge(self) -> None:
        """Report and judge until there is a verdict."""
        every_s = min(_LONGEST_REPORT_S, self.trial.window_s / _REPORTS)
        in_thread = asyncio.get_running_loop().run_in_executor
        while True:
            await asyncio.sleep(every_s * random.uniform(0.8, 1.2))
            try:
                if await in_thread(None, self._report_and_judge):
                    return
            except Exception as error:  # the store is away, or full; it may be back
                log.warning("%s: the trial cannot be judged now: %s", self._name, error)

    def _report_and_judge(self) -> bool:
        home = self._store.home
        if self._changed:
            self._changed = False
            home.write(f"{self._folder}/{self._file}", msgspec.json.encode(self.scores))
        files = home.entries(self._folder)
        total = self._total([one for one in files if one.startswith(self._prefix)])
        fault = find_fault(
            total,
            least_requests=self.trial.least_requests,
            least_agreement=self.incumbent.engine.least_agreement,
        )
        publisher = Publisher(self._store, who=f"service@{socket.gethostname()}")
        if fault:
            reason = f"{fault}; {total.describe()}"
            log.warning("%s: %s fails its trial: %s", self._name, self.trial.version, reason)
            if publisher.end_trial(self._name, self.trial, self._blob, "trial failed", reason):
                metrics.TRIALS.labels(self._name, "failed").inc()
            return True
        seen = total.candidate.requests if self.trial.mode == "canary" else total.compared_rows
        if datetime.now(UTC) < self.trial.ends_at or seen < self.trial.least_requests:
            return False
        if publisher.end_trial(
            self._name, self.trial, self._blob, "trial passed", total.describe()
        ):
            metrics.TRIALS.labels(self._name, "passed").inc()
            log.info("%s: %s passed its trial", self._name, self.trial.version)
        return True

    def _total(self, files: Sequence[str]) -> Scores:
        """Everybody's scores."""
        total = Scores()
        for file in files:
            blob = self._store.home.read(f"{self._folder}/{file}")
            if blob is not None:
                total.join(_scores.decode(blob.content))
        return total
