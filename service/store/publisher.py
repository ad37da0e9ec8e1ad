"""Everything that changes the store: publishing, promoting, rolling back, trials, tidying.

`CURRENT` is always replaced last, and only if it still is what the decision was made on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from service.contract import CURRENT_FILE, MANIFEST_FILE, check_name, decode_manifest
from service.errors import ContractError, InvalidInputError, StoreConflictError, UnknownNameError
from service.store.audit import Action, Audit, whoever
from service.store.home import NOTHING, Blob
from service.store.signature import SIGNATURE_FILE
from service.store.store import Store
from service.store.trial import (
    Mode,
    Trial,
    encode_trial,
    new_trial,
    read_trial,
    scores_folder,
    trial_key,
)

KEEP_VERSIONS = 5  # per model: the served one, the one to roll back to, and a short history
ABANDONED_S = 24 * 3600.0  # a bucket's unfinished version: nobody uploads for a day


@dataclass(frozen=True)
class Publisher:
    """Writes to a store, in somebody's name.

    Raises StoreConflictError wherever another publisher was quicker, StoreAwayError where the
    store cannot be reached.
    """

    store: Store
    who: str = ""
    keep: int = KEEP_VERSIONS

    def publish(
        self,
        folder: Path,
        name: str,
        *,
        instead_of: str | None = None,
        serve: bool = True,
        note: str = "",
    ) -> str:
        """Place a complete, sealed folder as a version and make it the served one.

        Args:
            folder: holds the manifest and every file that it lists.
            name: the model.
            instead_of: the version that must be served until then, "" for none: what the decision
                to publish was made on. None takes any.
            serve: False leaves it there for a trial, unless nothing is served yet.
            note: for the log.

        Raises:
            StoreConflictError: the version exists, or CURRENT was replaced while this one was
                placed: then it is there, whole, and not served.

        """
        raw = (folder / MANIFEST_FILE).read_bytes()
        manifest, home = decode_manifest(raw), self.store.home
        version, current = manifest.version, f"{check_name(name)}/{CURRENT_FILE}"
        with home.alone(name):
            before = home.read(current)
            served = before.content.decode("utf-8", "replace").strip() if before else ""
            if instead_of is not None and served != instead_of:
                raise StoreConflictError(
                    f"{name} serves {served or 'nothing'} by now, and {version} was held against "
                    f"{instead_of or 'nothing'}: judge it again"
                )
            files = [*manifest.files, MANIFEST_FILE]
            if (folder / SIGNATURE_FILE).is_file():
                files.append(SIGNATURE_FILE)
            if not self._is_unfinished(name, version, raw):
                home.place(name, version, folder, files)
            if serve or before is None:
                self._replace_current(name, version, before, "published", note)
                self.retire(name)
            else:
                Audit(home, name).add("placed", version, before=served, who=self.who, note=note)
        return version

    def _is_unfinished(self, name: str, version: str, manifest: bytes) -> bool:
        """Whether the version is there, the same, and was never served: a publisher died between
        its two last steps, and this one finishes them.
        """
        there = self.store.home.read(f"{name}/{version}/{MANIFEST_FILE}")
        if there is None or there.content != manifest:
            return False
        return not any(e.version == version for e in Audit(self.store.home, name).entries())

    def promote(self, name: str, version: str, *, note: str = "") -> None:
        """Make a published version the served one, after verifying it.

        Raises UnknownNameError if it is not there, ContractError if it is damaged.
        """
        self._check_there(name, version)
        with self.store.home.alone(name):
            _, before = self._served(name)
            self._replace_current(name, version, before, "promoted", note)

    def roll_back(self, name: str, version: str | None = None, *, note: str = "") -> str:
        """Serve the version before this one, or an older one; returns which.

        Raises UnknownNameError if there is none.
        """
        served, before = self._served(name)
        if version is None:
            candidates = self.store.fallbacks(name, served or "")
            if not candidates:
                raise UnknownNameError(f"{name} has no version before {served}")
            version = candidates[0]
        self._check_there(name, version)
        with self.store.home.alone(name):
            self._replace_current(name, version, before, "rolled back", note)
        return version

    def _check_there(self, name: str, version: str) -> None:
        versions = self.store.versions(name)
        if version not in versions:
            raise UnknownNameError(
                f"{self.store.home.location} has no version {version!r} of {name!r}; it has "
                f"{', '.join(versions) or 'none'}"
            )
        self.store.verified(name, version)

    def _served(self, name: str) -> tuple[str | None, Blob | None]:
        try:
            return self.store.current_blob(name)
        except ContractError:  # broken: to be replaced all the same
            return None, self.store.home.read(f"{name}/{CURRENT_FILE}")

    def _replace_current(
        self, name: str, version: str, before: Blob | None, action: Action, note: str
    ) -> None:
        home = self.store.home
        try:
            home.write(
                f"{name}/{CURRENT_FILE}",
                f"{version}\n".encode(),
                expected=before.tag if before else NOTHING,
            )
        except StoreConflictError as error:
            raise StoreConflictError(
                f"{name} now serves {self.store.current(name)}: somebody was quicker. {version} "
                "is in the store and not served; compare the two, and promote it if it is better"
            ) from error
        was = before.content.decode("utf-8", "replace").strip() if before else ""
        Audit(home, name).add(action, version, before=was, who=self.who, note=note)

    # --- trials -----------------------------------------------------------------------------

    def start_trial(
        self,
        name: str,
        version: str,
        mode: Mode,
        *,
        share: float,
        window_s: float,
        least_requests: int,
    ) -> Trial:
        """Put a published version on trial against the served one.

        Raises UnknownNameError if it is not there, InvalidInputError if it is served already or a
        figure is out of range, StoreConflictError if another trial is running.
        """
        if not 0 < share <= 1:
            raise InvalidInputError(f"a share of {share:g} is not above 0 and at most 1")
        if window_s <= 0 or least_requests < 1:
            raise InvalidInputError("a trial needs a window and a request at least")
        self._check_there(name, version)
        served = self.store.current(name)
        if served == version:
            raise InvalidInputError(f"{name} serves {version} already")
        running, blob = read_trial(self.store.home, name)
        if running is not None and running.running:
            raise StoreConflictError(f"{name} has {running.version} on trial already")
        self.store.home.clear(scores_folder(name))  # of the trial before
        trial = new_trial(
            mode,
            version,
            served,
            share=share,
            window_s=window_s,
            least_requests=least_requests,
            who=self.who or whoever(),
        )
        self.store.home.write(
            trial_key(name), encode_trial(trial), expected=blob.tag if blob else NOTHING
        )
        note = f"{mode}, {share:.3g} of requests for {window_s:g} s"
        Audit(self.store.home, name).add(
            "trial started", version, before=served, who=self.who, note=note
        )
        return trial

    def end_trial(self, name: str, trial: Trial, blob: Blob, action: Action, reason: str) -> bool:
        """Give a running trial its verdict; a canary that passed becomes the served version.

        Returns False if somebody else gave it first. The promotion comes before the verdict is
        written: who dies between the two leaves a trial of the served version, which is over.
        """
        home = self.store.home
        states = {"trial passed": "passed", "trial failed": "failed", "trial stopped": "stopped"}
        if action == "trial passed" and trial.mode == "canary":
            served, current = self._served(name)
            if served == trial.against:
                try:
                    self._replace_current(name, trial.version, current, "promoted", reason)
                except StoreConflictError:
                    return False
            elif served != trial.version:
                action, reason = "trial stopped", f"{name} serves {served} by now"
        ended = msgspec.structs.replace(trial, state=states[action], reason=reason)
        try:
            home.write(trial_key(name), encode_trial(ended), expected=blob.tag)
        except StoreConflictError:
            return False
        Audit(home, name).add(
            action, trial.version, before=trial.against, who=self.who, note=reason
        )
        return True

    # --- tidying ----------------------------------------------------------------------------

    def retire(self, name: str) -> list[str]:
        """Remove the oldest versions beyond `keep`, never one that is served or on trial."""
        served, _ = self._served(name)
        trial, _ = read_trial(self.store.home, name)
        used = {served, trial.version if trial and trial.running else None}
        old = self.store.versions(name)[: -self.keep]
        removed = [version for version in old if version not in used]
        for version in removed:
            self.store.home.remove(name, version)
        return removed

    def sweep(self, name: str, *, older_than_s: float = ABANDONED_S) -> list[str]:
        """Remove what publishers that died have left, and versions beyond `keep`."""
        swept = self.store.home.sweep(name, older_than_s=older_than_s)
        with self.store.home.alone(name):
            return swept + [f"{name}/{version}" for version in self.retire(name)]
