"""How are units run in this process? In order, each from the store if it is there, with batches that fit the memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TextIO, final

import torch
from tqdm import tqdm

from pytest_diffprivacy.engine.units import Identified, Ledger, Unit
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence import Arrays, RunFolder, Store, fingerprint, library_versions
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST


@final
class LocalEngine:
    """Runs units one after the other in this process.

    Args:
        store: where results are kept; None: nowhere.
        run: where events are written; None: nowhere.
        batch_size: images in one network call; halved, and said so, when memory runs out.
        fresh: compute even what is stored.
        progress: where progress bars go; None: nowhere.
    """

    def __init__(
        self,
        store: Store | None = None,
        run: RunFolder | None = None,
        *,
        batch_size: int = 256,
        fresh: bool = False,
        progress: TextIO | None = None,
    ) -> None:
        self._store, self._run = store, run
        self._batch_size, self._fresh, self._progress = batch_size, fresh, progress

    def run(self, model: Identified, units: Sequence[Unit], *, title: str, ledger: Ledger) -> Iterator[Arrays]:
        """The results of the units, in their order, each stored as soon as it is finished.

        Raises:
            EvidenceError: a stored result is damaged, or the store cannot be written.
            AuditError: memory runs out at batch size 1.
        """
        with tqdm(
            total=sum(unit.items for unit in units),
            desc=title,
            unit="img",
            file=self._progress,
            disable=self._progress is None,
            leave=False,
            mininterval=0.5 if self._progress is not None and self._progress.isatty() else 20.0,
        ) as bar:
            for unit in units:
                yield self._one(model, unit, ledger)
                bar.update(unit.items)

    def _one(self, model: Identified, unit: Unit, ledger: Ledger) -> Arrays:
        started = time.perf_counter()
        key = _key(model, unit)
        with self._store.lock(key) if self._store and key else nullcontext():
            stored = self._store.get(key) if self._store and key and not self._fresh else None
            if stored is None:
                arrays = self._compute(model, unit, ledger)
                if self._store and key:
                    self._store.put(key, arrays, {"unit": unit.label, "model": model.identity.name})
            else:
                arrays = stored
        seconds = time.perf_counter() - started
        ledger.seconds += seconds
        if stored is None:
            ledger.computed += 1
        else:
            ledger.reused += 1
        self._event("computed" if stored is None else "reused", unit, key, seconds)
        return arrays

    def _compute(self, model: Identified, unit: Unit, ledger: Ledger) -> Arrays:
        while True:
            try:
                return unit.compute(model, self._batch_size)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if self._batch_size == 1:
                    raise AuditError(
                        f"{unit.label}: memory runs out at batch size 1. Use a smaller dtype or a larger device."
                    ) from error
                self._batch_size = max(1, self._batch_size // 2)
                ledger.incidents.append(f"Out of memory in {unit.label}: batch size halved to {self._batch_size}.")
                self._event("out of memory", unit, None, 0.0)

    def _event(self, kind: str, unit: Unit, key: str | None, seconds: float) -> None:
        if self._run is not None:
            self._run.event(kind, unit=unit.label, key=key, items=unit.items, seconds=round(seconds, 4))


def _key(model: Identified, unit: Unit) -> str | None:
    identity = model.identity
    if unit.depends is None or identity.digest == UNKNOWN_DIGEST:
        return None
    return fingerprint(
        {
            "unit": unit.depends,
            "model": {"digest": identity.digest, "dtype": identity.dtype, "device": identity.device},
            "versions": library_versions(),
        }
    )
