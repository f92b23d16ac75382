"""A loader process: answers each request with a batch, in memory shared with the training."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from fgembed.data.batch_memory import Slots, byte_count, shapes_of, stacked
from fgembed.errors import FgembedError

ImageKey = tuple[int, int]  # epoch, index of the image
Load = Callable[[ImageKey], list[Tensor]]

FORKS = sys.platform == "linux"


def serve(
    load: Load,
    connection: Connection,
    slots: Slots | None,
    inherited: list[Connection],
    parent: int,
) -> None:
    """Answers each request with a batch until the other side ends.

    Args:
        load: gives the views of one image.
        connection: to the training process.
        slots: shared with it.
        inherited: its ends of this and earlier connections, which a fork has copied; an open copy
            would hide its end from the others.
        parent: its process number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for other in inherited:
            other.close()
        torch.set_num_threads(1)
        while True:
            slot, keys = connection.recv()
            _send(connection, _loaded(load, keys, parent), slots, slot)
    except BaseException:
        os._exit(1)  # the other side has ended, or this one is told to; nobody needs a traceback


def _loaded(load: Load, keys: Sequence[ImageKey], parent: int) -> list[list[Tensor]] | Exception:
    samples = []
    try:
        for key in keys:
            if os.getppid() != parent and FORKS:
                os._exit(1)
            samples.append(load(key))
    except Exception as error:
        if not isinstance(error, FgembedError):
            error.add_note(traceback.format_exc())
        return error
    return samples


def _send(
    connection: Connection, samples: list[list[Tensor]] | Exception, slots: Slots | None, slot: int
) -> None:
    if isinstance(samples, Exception):
        connection.send(samples)
        return
    shapes = shapes_of(samples[0], len(samples))
    if slots is None or byte_count(shapes) > slots.batch_bytes:
        connection.send([view.numpy() for view in stacked(samples)])
        return
    for target, view in zip(slots.views(slot, shapes), zip(*samples, strict=True), strict=True):
        torch.stack(list(view), out=target)
    connection.send(shapes)
