"""The optimisers over a method's parameter groups, and their common learning-rate schedule."""

import math
from collections.abc import Sequence

import torch

from fgembed.config import OptimiserSettings
from fgembed.methods.base import Method


def make_optimisers(method: Method, settings: OptimiserSettings) -> list[torch.optim.Optimizer]:
    """SGD or AdamW over the method's parameters, and one Adam over the groups that set `adam`.

    Returns:
        None, one or two optimisers; each group has the learning rate that the schedule scales
        as `base_rate`.
    """
    adam_groups, groups = [], []
    for group in method.parameter_groups():
        if not group["params"]:
            continue
        adam_rate = group.get("adam")
        if adam_rate is not None:
            adam_groups.append({"params": group["params"], "base_rate": adam_rate})
        else:
            scale = settings.encoder_scale if group["scaled"] else 1.0
            base_rate = settings.learning_rate * scale
            groups.append({"params": group["params"], "base_rate": base_rate})
    optimisers: list[torch.optim.Optimizer] = []
    if groups:
        optimisers.append(_optimiser(groups, settings))
    if adam_groups:
        optimisers.append(torch.optim.Adam(adam_groups))
    return optimisers


def _optimiser(
    groups: list[dict[str, object]], settings: OptimiserSettings
) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
    return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, weight_decay=decay)


def set_learning_rates(optimisers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Sets the learning rate of every group to `factor` times its base rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = factor * group["base_rate"]


def learning_rate_factor(settings: OptimiserSettings, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up to 1, then a cosine to 0, moved each step or each epoch.

    The cosine is (1 + cos(pi x progress)) / 2, with progress = (epoch - warm-up epochs) /
    (epochs - warm-up epochs) as in MoCo v3's code (arXiv:2104.02057).

    Example:
        >>> settings = OptimiserSettings(epochs=10, warmup_epochs=2)
        >>> [learning_rate_factor(settings, step, steps_per_epoch=5) for step in (4, 10, 30)]
        [0.5, 1.0, 0.5]

    Args:
        settings: of the schedule.
        step: from 0.
        steps_per_epoch: batches in an epoch.

    Returns:
        A factor in [0, 1] of the base learning rates.
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if settings.decay == "epoch":
        step -= step % steps_per_epoch
    progress = max(0.0, step - warmup) / (settings.epochs * steps_per_epoch - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
