"""A DataLoader whose processes may be lost, and hand batches over as the machine allows.

Tensors are handed over in shared memory, or as arrays through pipes where that has no room.
"""

import errno
import io
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import active_children
from multiprocessing.connection import Listener, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fgembed.errors import FgembedError

PATIENCE_S = 60.0  # to wait for a batch, and
PATIENCE_S_AN_IMAGE = 10.0  # for each of its images
SPARE_DESCRIPTORS = 64
SCARCE = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC)

Batch = list[Tensor]


class LoaderLost(Exception):
    """Loader processes could not be started, ended, or could not hand over a batch.

    Attributes:
        remaining: processes to go on with.
        shares: whether to hand over batches in shared memory if that has room.
    """

    def __init__(self, reason: str, remaining: int, shares: bool) -> None:
        super().__init__(reason)
        self.remaining, self.shares = remaining, shares


def batches_of_processes(
    images: Dataset[Any], batches: Iterator[list[Any]], workers: int, ahead: int, shares: bool
) -> Iterator[Batch]:
    """Batches that `workers` processes load, each `ahead` of them in advance.

    Raises:
        LoaderLost: there are too few processes for the next batch.
        FgembedError: a process hangs.
    """
    first = next(batches, None)
    if first is None:
        return
    shared = shares and sharing_works(images[first[0]], len(first), workers * ahead)
    started_before = active_children()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        loader = _loader(images, chain([first], batches), workers, ahead, shared)
        loader.timeout = PATIENCE_S + PATIENCE_S_AN_IMAGE * len(first)
        iterator = _started(loader, shares)
    processes = [child for child in active_children() if child not in started_before]
    if shares and not shared:
        fact = "room in shared memory, descriptors or sockets do not suffice to share batches"
        warnings.warn(f"{fact}; pipes are used, which are slower", RuntimeWarning, stacklevel=3)
    while True:
        try:
            with _noticing_ends(processes):
                batch = next(iterator, None)
        except Exception as error:
            loss = _loss(error, processes, shared)
            # Ends the processes and frees their memory now: torch's error refers to itself.
            traceback.clear_frames(error.__traceback__)
            del iterator
            if str(error).startswith("DataLoader timed out"):
                raise FgembedError(
                    f"a loader process has given no batch for {loader.timeout:.0f} s",
                    "check the disk of the images; if it is well, set workers = 0",
                ) from None
            raise loss from None
        if batch is None:
            return
        if isinstance(batch, Exception):
            raise batch
        yield batch if shared else pinned([torch.from_numpy(array) for array in batch])


def stacked(samples: Sequence[Sequence[Tensor]]) -> Batch:
    """The views of several images as one tensor a view."""
    return [torch.stack(list(view)) for view in zip(*samples, strict=True)]


def pinned(views: Batch) -> Batch:
    """The views in memory that a GPU reads directly, if there is a GPU."""
    return [view.pin_memory() for view in views] if torch.cuda.is_available() else views


def sharing_works(sample: Sequence[Tensor], batch_size: int, batches: int) -> bool:
    """Whether shared memory and descriptors suffice for so many batches, and sockets can be made.

    What is wanting must show here: a process that cannot send a batch drops it without a word.
    """
    if sys.platform != "linux":
        return True  # torch shares memory in another way there
    import resource

    in_memory = batches + 2  # one is in use, and one is pinned
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        memory = os.statvfs("/dev/shm")
        Listener(family="AF_UNIX").close()
        left = sys.maxsize if limit < 0 else limit - len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return False
    needed = in_memory * batch_size * sum(view.nbytes for view in sample)
    roomy = memory.f_bavail * memory.f_frsize > needed
    return roomy and left > 4 * in_memory * len(sample) + SPARE_DESCRIPTORS


def _loader(
    images: Dataset[Any], batches: Iterable[list[Any]], workers: int, ahead: int, shared: bool
) -> DataLoader[Any]:
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(_collated, shared),
        pin_memory=shared and torch.cuda.is_available(),
        worker_init_fn=partial(_begin, os.getpid()),
        multiprocessing_context="fork" if sys.platform == "linux" else None,
        # A loader draws from its generator when it starts. A draw from the global one would shift
        # the random numbers of a resumed run against those of an uninterrupted one.
        generator=torch.Generator(),
        prefetch_factor=ahead,
    )


def _collated(shared: bool, samples: list[Batch] | Exception) -> Any:
    if isinstance(samples, Exception):
        return samples
    return default_collate(samples) if shared else [view.numpy() for view in stacked(samples)]


def _begin(parent: int, worker: int) -> None:
    """Prepares a loader process: it ends with its parent, and has no tracebacks to show."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr = io.StringIO()

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _started(loader: DataLoader[Any], shares: bool) -> Iterator[Any]:
    """The loader's iterator.

    Raises:
        LoaderLost: not every process can be started.
    """
    workers = loader.num_workers
    try:
        with _noticing_ends([]):
            return iter(loader)
    except (OSError, RuntimeError) as error:
        # An iterator of torch's that is half made complains on stderr when it is deleted.
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        traceback.clear_frames(error.__traceback__)
        sys.unraisablehook = hook
        scarce = isinstance(error, RuntimeError) or error.errno in SCARCE  # threads, or the rest
        cause = getattr(error, "strerror", None) or error
        raise LoaderLost(
            f"not all of {workers} loader processes could be started ({cause})",
            workers // 2 if scarce else 0,
            shares,
        ) from None


@contextmanager
def _noticing_ends(processes: list[BaseProcess]) -> Iterator[None]:
    """Interrupts this block when a process ends.

    Torch's own handler of the signal would also interrupt a training step.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def check(*_: object) -> None:
        if any(process.exitcode for process in processes):
            raise ChildProcessError

    before = signal.signal(signal.SIGCHLD, check)
    try:
        check()
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _loss(error: Exception, processes: list[BaseProcess], shares: bool) -> LoaderLost:
    """What a failure to get the next batch means; the processes answer every other with a value."""
    wait([process.sentinel for process in processes], timeout=1)
    codes = [process.exitcode for process in processes if process.exitcode is not None]
    if not codes:
        message = str(error).strip() or type(error).__name__
        cause = message.splitlines()[-1]
        remaining = len(processes) if shares else len(processes) // 2
        return LoaderLost(f"loader processes cannot hand over a batch ({cause})", remaining, False)
    code = codes[0]
    cause = f"signal {-code}" if code < 0 else f"code {code}"
    if code == -signal.SIGKILL:
        cause += ", as for want of memory"
    shares = shares and code != -getattr(signal, "SIGBUS", 0)
    return LoaderLost(f"a loader process ended ({cause})", len(processes) // 2, shares)
