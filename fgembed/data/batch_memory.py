"""Memory for batches of views that two processes share."""

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

Shapes = list[tuple[tuple[int, ...], torch.dtype]]


def stacked(samples: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The views of several images as one tensor a view."""
    return [torch.stack(list(view)) for view in zip(*samples, strict=True)]


class Slots:
    """Shared memory for `count` batches."""

    def __init__(self, count: int, batch_bytes: int) -> None:
        self.batch_bytes = batch_bytes
        self.memory = mmap.mmap(-1, count * batch_bytes)

    def views(self, slot: int, shapes: Shapes) -> list[Tensor]:
        """Tensors of these shapes over a slot's memory."""
        views, offset = [], slot * self.batch_bytes
        for shape, dtype in shapes:
            count = math.prod(shape)
            flat = torch.frombuffer(self.memory, dtype=dtype, count=count, offset=offset)
            views.append(flat.view(shape))
            offset += count * dtype.itemsize
        return views


def shapes_of(sample: Sequence[Tensor], batch_size: int) -> Shapes:
    """Shapes and types of the views of a batch, from those of one image."""
    return [((batch_size, *view.shape), view.dtype) for view in sample]


def byte_count(shapes: Shapes) -> int:
    """The memory that tensors of these shapes take."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes)
