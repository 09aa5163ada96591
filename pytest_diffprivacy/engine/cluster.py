"""Ray cluster: one actor a GPU, or a share of the CPUs each, which holds the model."""

from __future__ import annotations

import math
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from pytest_diffprivacy.engine.units import Answer, Identified, Task, Unit
from pytest_diffprivacy.engine.workers import Sent, Worker
from pytest_diffprivacy.errors import AuditError, UsageError

CPUS = 4
"""Of a worker without a GPU, where their number is not asked for."""
PATIENCE = 600.0
"""Seconds until the first worker must have started."""
LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Of Ray, read when it is imported: 0 makes a cluster that consists of this machine listen on 127.0.0.1."""
FAILURES = 20
"""Workers that die before they have started, until it is given up."""


def cpu_share(nodes: Sequence[float], count: int) -> float:
    """CPUs of each of `count` workers, as many as nodes of so many can give all at once; half a CPU at least."""
    whole = range(int(max(nodes, default=1)), 0, -1)
    return next((float(share) for share in whole if sum(cpus // share for cpus in nodes) >= count), 0.5)


@contextmanager
def _connected() -> Iterator[None]:
    """Work that needs the cluster; its loss is an AuditError."""
    try:
        yield
    except ConnectionError as error:
        raise AuditError(
            f"The Ray cluster was lost while it worked ({error}). What is finished is stored: start a cluster and run "
            "the same command again."
        ) from error


def _has_cluster() -> bool:
    """Whether this machine belongs to a cluster already."""
    known = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # where Ray looks
    return bool(os.environ.get("RAY_ADDRESS")) or known.exists()


def _ray_connected_to(address: str | None) -> Any:
    """Ray's module, connected to a cluster; a UsageError where it is not installed or cannot be reached."""
    # Of 40 s each: Ray's own 20 take a quarter of an hour to see that a cluster has ended and left its address.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    if address is None and not _has_cluster():  # a new one listens on loopback only: nobody else is to use it
        os.environ.setdefault(LOOPBACK, "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "`diffprivacy_engine` must be local where ray is not installed, got ray. Install pytest-diffprivacy[ray]."
        ) from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # an audit tells nobody about itself
        try:
            _connect(ray, address)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
            raise UsageError(
                "`diffprivacy_engine` must name a Ray cluster that can be reached, got "
                f"{address or 'ray'!r}: {error}. Start it; for ray:// name its client port (10001 by default) "
                "and set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN where it asks for a token (its log says so); "
                "after one that ended by itself, `ray stop` lets the next audit begin its own."
            ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Once more where the cluster was reached and could not start the process that serves its client."""
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except ConnectionAbortedError:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)


@final
class RayExecutor:
    """Actors of a Ray cluster; satisfies Executor.

    Args:
        address: "ray://host:port" of a cluster; None: the one that this machine belongs to, or a new one on it.
        count: workers; None: one a GPU, or one for every four CPUs where there is no GPU.

    Raises:
        UsageError: ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str | None = None, count: int | None = None) -> None:
        self._ray = ray = _ray_connected_to(address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0.0) for node in nodes))
        cpus = [node.get("CPU", 0.0) for node in nodes]
        self.count = count or gpus or max(1, int(sum(cpus)) // CPUS)
        share = cpu_share(cpus, self.count)
        needs = {"num_gpus": 1.0 / math.ceil(self.count / gpus), "num_cpus": min(1.0, share)} if gpus else {}
        self._actor = ray.remote(_Actor).options(**(needs or {"num_cpus": share}))
        self._threads, self._paths = max(1, int(share)), [path for path in sys.path if path]
        self._sent = Sent(lambda thing: ray.put(ray.cloudpickle.dumps(thing)))
        self._pending: dict[Any, tuple[int, bool]] = {}
        self._idle: set[int] = set()
        self._failed = 0
        self._actors: list[Any] = [None] * self.count
        for worker in range(self.count):
            self._start(worker)

    def load(self, model: Identified, units: Sequence[Unit]) -> tuple[int, int]:
        """Names under which the workers know a model and its units; each is put into the object store once.

        Raises:
            CannotSend: it holds something that cannot be pickled, such as an open file.
            AuditError: the cluster was lost.
        """
        with _connected():
            return self._sent.load(model, units)

    def idle(self) -> list[int]:
        """Workers that wait for a task."""
        return sorted(self._idle)

    def submit(self, worker: int, task: Task) -> None:
        """Give an idle worker a task.

        Raises:
            AuditError: the cluster was lost.
        """
        self._idle.remove(worker)
        packed = {name: self._sent.packed(name) for name in (task.model, task.units)}
        with _connected():
            # In a mapping, so that Ray hands the references over and the actor fetches only what it does not hold.
            answer = self._actors[worker].compute.remote(task, packed)
        self._pending[answer] = (worker, True)

    def receive(self) -> tuple[int, Answer] | None:
        """Wait until a worker answers, is lost or has started; a new one takes the place of a lost one.

        Raises:
            AuditError: no worker starts, or the cluster was lost.
        """
        with _connected():
            works = any(task for _, task in self._pending.values())
            ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=None if works else PATIENCE)
            if not ready:
                raise AuditError(f"No Ray worker started within {PATIENCE:g} s. Are its CPUs or GPUs taken by others?")
            return self._received(ready[0])

    def _received(self, reference: Any) -> tuple[int, Answer] | None:
        errors = self._ray.exceptions
        worker, task = self._pending.pop(reference)
        try:
            content = self._ray.get(reference)
        except errors.RayTaskError as error:  # a worker never raises: its answer could not be sent
            self._idle.add(worker)
            return worker, Answer(error=AuditError(f"A Ray worker cannot answer: {error.cause}"))
        except errors.RayError as error:
            self._start(worker)
            self._failed += not task
            if self._failed == FAILURES:
                raise AuditError(f"Ray workers do not start: {error}") from error
            return (worker, Answer(lost=True)) if task else None
        self._idle.add(worker)
        return (worker, pickle.loads(content)) if task else None

    def _start(self, worker: int) -> None:
        """A new actor in a worker's place; it is idle once it has started."""
        if self._actors[worker] is not None:
            self._ray.kill(self._actors[worker])
        self._actors[worker] = self._actor.remote(self._threads, self._paths)
        self._pending[self._actors[worker].ready.remote()] = (worker, False)


@final
class _Actor:
    """A worker in a process of the cluster, which looks for modules where the asking process does, too."""

    def __init__(self, threads: int, paths: Sequence[str]) -> None:
        sys.path += [path for path in dict.fromkeys(paths) if path not in sys.path and Path(path).is_dir()]
        self._worker = Worker(threads)

    def ready(self) -> bytes:
        """Say that it has started."""
        return b""

    def compute(self, task: Task, packed: Mapping[int, Any]) -> bytes:
        """The answer to a task, pickled here: what Ray unpickles itself cannot be written to."""
        import ray

        return pickle.dumps(self._worker.compute(task, lambda name: ray.cloudpickle.loads(ray.get(packed[name]))))
