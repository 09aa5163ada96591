"""Processes of this machine: one a worker, each of which sees its own device only."""

from __future__ import annotations

import os
import pickle
import signal
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, final

import torch

from pytest_diffprivacy.engine.units import Answer, Identified, Task, Unit
from pytest_diffprivacy.engine.workers import Sent, Worker

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker process runs.

    Attributes:
        threads: of the CPU.
        visible: the GPU that it sees, as CUDA_VISIBLE_DEVICES names it; None: as this process.
    """

    threads: int
    visible: str | None = None


def places(count: int, device: str, environment: Mapping[str, str] | None = None) -> list[Place]:
    """One place a worker: GPUs in turn, where the device is "cuda", and a share of the CPU's threads."""
    environment = os.environ if environment is None else environment
    threads = max(1, torch.get_num_threads() // count)
    if device != "cuda":
        return [Place(threads)] * count
    given = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    names = given or [str(number) for number in range(torch.cuda.device_count())]
    return [Place(threads, names[number % len(names)]) for number in range(count)]


@dataclass(slots=True)
class _Process:
    """One worker process."""

    process: BaseProcess
    connection: Connection
    busy: bool = False


@final
class ProcessExecutor:
    """Worker processes on this machine, each of which sees its own device only; satisfies Executor.

    Not a `ProcessPoolExecutor`: there, a lost worker ends all the others, and workers outlive a parent that is killed.

    Args:
        chosen: where each of them runs.
    """

    def __init__(self, chosen: Sequence[Place]) -> None:
        self._places, self._sent = list(chosen), Sent(pickle.dumps)
        self._workers = [_start(place) for place in self._places]
        self._end = weakref.finalize(self, _stop, self._workers)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._workers)

    def load(self, model: Identified, units: Sequence[Unit]) -> tuple[int, int]:
        """Names under which the workers ask for a model and its units.

        Raises:
            CannotSend: it holds something that cannot be pickled, such as a lambda.
        """
        return self._sent.load(model, units)

    def idle(self) -> list[int]:
        """Workers that wait for a task."""
        return [number for number, worker in enumerate(self._workers) if not worker.busy]

    def submit(self, worker: int, task: Task) -> None:
        """Give an idle worker a task."""
        self._workers[worker].busy = True
        with suppress(OSError):  # it is gone, which is seen when its answer is waited for
            self._workers[worker].connection.send(task)

    def receive(self) -> tuple[int, Answer]:
        """Wait until a worker answers or is lost, and give what is asked for; a new one takes a lost one's place."""
        busy = {worker.connection: number for number, worker in enumerate(self._workers) if worker.busy}
        while True:
            connection = wait(list(busy))[0]
            assert isinstance(connection, Connection)
            number = busy[connection]
            try:
                said: int | Answer = connection.recv()
                if isinstance(said, int):
                    connection.send_bytes(self._sent.packed(said))
                    continue
            except (EOFError, OSError, pickle.UnpicklingError):
                _stop([self._workers[number]])
                self._workers[number] = _start(self._places[number])
                return number, Answer(lost=True)
            self._workers[number].busy = False
            return number, said

    def close(self) -> None:
        """End the processes."""
        self._end()


def _start(place: Place) -> _Process:
    context = get_context("spawn")  # a fork of a process that has used CUDA or threads cannot be trusted
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, place), daemon=True)
    process.start()
    theirs.close()
    return _Process(process, ours)


def _stop(workers: list[_Process]) -> None:
    for worker in workers:
        worker.connection.close()
        worker.process.terminate()
        worker.process.join()


def _serve(connection: Connection, place: Place) -> None:
    """The life of a worker process: answer tasks until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends it
    if place.visible is not None:
        os.environ[VISIBLE] = place.visible
    worker = Worker(place.threads)

    def fetch(name: int) -> Any:
        connection.send(name)
        return pickle.loads(connection.recv_bytes())

    with suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            connection.send(worker.compute(task, fetch))
