"""Contexts that use a module and restore its state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def keep_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise as usual but update neither running statistics nor the batch count.

    In training mode they normalise by the batch, in evaluation mode by the running statistics.
    """
    recording = [
        part
        for part in module.modules()
        if isinstance(part, _BatchNorm) and part.training and part.track_running_stats
    ]
    for norm in recording:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in recording:
            norm.track_running_stats = True


@contextmanager
def keep_modes(module: nn.Module) -> Iterator[None]:
    """Restores the training or evaluation mode of every submodule."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode with a forked random state; both are restored."""
    device = next(module.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), keep_modes(module):
        module.eval()
        yield
