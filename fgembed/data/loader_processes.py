"""Processes that load batches and hand them over in memory that they share with this one.

The memory is mapped before a process is forked. So unlike torch's loader this needs no room in
/dev/shm, no sockets, semaphores or files, and two descriptors a process, which closing tells that
the other side has ended. Where processes are not forked, batches go through the pipes.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self

import torch
from torch import Tensor

from fgembed.data import loader_worker
from fgembed.data.batch_memory import Slots, byte_count, shapes_of
from fgembed.data.loader_worker import ImageKey, Load, serve
from fgembed.errors import FgembedError

PATIENCE_S = 60.0  # to wait for a batch, and
PATIENCE_S_AN_IMAGE = 10.0  # for each of its images
CLOSE_S = 5.0


class LoaderLost(Exception):
    """Loader processes could not be started, or one ended; the text says why.

    Attributes:
        remaining: processes to go on with, fewer than before.
    """

    def __init__(self, reason: str, remaining: int) -> None:
        super().__init__(reason)
        self.remaining = remaining


@dataclass
class _Worker:
    """A process, the connection to it, and the memory shared with it (None: the pipe is used)."""

    process: Any
    connection: Connection
    slots: Slots | None
    sent: int = 0
    received: int = 0


class LoaderProcesses:
    """Loads batches in turn, one process after the other, in their order.

    Args:
        load: gives the views of one image; the same for the same key.
        batches: the keys of each batch.
        workers: processes to start.
        ahead: batches that each of them loads ahead.

    Raises:
        LoaderLost: fewer processes than wanted can be started.
    """

    def __init__(
        self, load: Load, batches: Iterable[list[ImageKey]], workers: int, ahead: int
    ) -> None:
        self.pending = iter(batches)
        self.first = next(self.pending, None)
        self.requested: list[int] = []  # sizes of the batches that are not yet received, in order
        self.ahead = ahead
        self.workers: list[_Worker] = []
        if self.first is None:
            return
        shapes = shapes_of(load(self.first[0]), len(self.first))
        try:
            for _ in range(workers):
                self.workers.append(self._started(load, byte_count(shapes)))
        except OSError as error:
            self.close()
            raise LoaderLost(
                f"only {len(self.workers)} of {workers} loader processes could be started "
                f"({error.strerror or error})",
                len(self.workers),
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def batches(self) -> Iterator[list[Tensor]]:
        """The views of each batch; they are overwritten after the next one is taken.

        Raises:
            LoaderLost: a process ended.
            FgembedError: a process hangs.
        """
        for _ in range(self._depth()):
            for number in range(len(self.workers)):
                self._request(number)
        turn = 0
        while self.requested:
            views = self._receive(turn)
            self._request(turn)
            yield views
            turn = (turn + 1) % len(self.workers)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(CLOSE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(CLOSE_S)
            worker.connection.close()

    def _depth(self) -> int:
        """Batches ahead; through pipes one: a process that writes reads no further request."""
        shared = all(worker.slots is not None for worker in self.workers)
        return self.ahead if shared else 1

    def _started(self, load: Load, batch_bytes: int) -> _Worker:
        context = get_context("fork" if loader_worker.FORKS else None)
        slots = None
        if loader_worker.FORKS:
            with suppress(OSError, ValueError):  # too little memory to map
                slots = Slots(self.ahead + 1, max(batch_bytes, 1))
        ours, theirs = context.Pipe()
        inherited = (
            [ours, *(worker.connection for worker in self.workers)] if loader_worker.FORKS else []
        )
        process = context.Process(
            target=serve, args=(load, theirs, slots, inherited, os.getpid()), daemon=True
        )
        try:
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Worker(process, ours, slots)

    def _request(self, number: int) -> None:
        keys = self.first if self.first is not None else next(self.pending, None)
        self.first = None
        if keys is None:
            return
        worker = self.workers[number]
        try:
            worker.connection.send((worker.sent % (self.ahead + 1), keys))
        except OSError:
            raise self._loss(worker) from None
        worker.sent += 1
        self.requested.append(len(keys))

    def _receive(self, number: int) -> list[Tensor]:
        worker, patience_s = (
            self.workers[number],
            PATIENCE_S + PATIENCE_S_AN_IMAGE * self.requested[0],
        )
        try:
            if not worker.connection.poll(patience_s):
                raise FgembedError(
                    f"a loader process has given no batch for {patience_s:.0f} s",
                    "check the disk of the images; if it is well, set workers = 0",
                )
            answer = worker.connection.recv()
        except (EOFError, OSError):
            raise self._loss(worker) from None
        self.requested.pop(0)
        slot, worker.received = worker.received % (self.ahead + 1), worker.received + 1
        if isinstance(answer, Exception):
            raise answer
        if worker.slots is not None and isinstance(answer[0], tuple):
            return worker.slots.views(slot, answer)
        return [torch.from_numpy(array) for array in answer]

    def _loss(self, worker: _Worker) -> LoaderLost:
        worker.process.join(CLOSE_S)
        code = worker.process.exitcode
        cause = f"code {code}"
        if code is not None and code < 0:
            cause = f"signal {-code}"
            if -code == signal.SIGKILL:
                cause += ", as for want of memory"
        return LoaderLost(f"a loader process ended ({cause})", len(self.workers) // 2)
