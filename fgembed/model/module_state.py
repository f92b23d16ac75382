"""Contexts that use a module and leave its state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def keep_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise as ever but record nothing: no running mean, variance or count.

    Those in training mode take the statistics of the batch, those in evaluation mode their
    running ones.
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
    """Afterwards every submodule is in training or evaluation mode as before."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def observed(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and a random state of its own; both are put back."""
    device = next(module.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), keep_modes(module):
        module.eval()
        yield
