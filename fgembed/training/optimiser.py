"""The optimisers over a method's parameter groups, and their common learning-rate schedule."""

import math
from collections.abc import Sequence

import torch

from fgembed.config import OptimiserSettings
from fgembed.methods.base import Method


def make_optimisers(method: Method, settings: OptimiserSettings) -> list[torch.optim.Optimizer]:
    """One over the method's groups and one Adam over those that ask for it; none, no training."""
    own, common = [], []
    for group in method.parameter_groups():
        if not group["params"]:
            continue
        rate = group.get("adam")
        if rate is not None:
            own.append({"params": group["params"], "base_rate": rate})
        else:
            scale = settings.encoder_scale if group["scaled"] else 1.0
            base_rate = settings.learning_rate * scale
            common.append({"params": group["params"], "base_rate": base_rate})
    made: list[torch.optim.Optimizer] = []
    rate, decay = settings.learning_rate, settings.weight_decay
    if common and settings.name == "adamw":
        made.append(torch.optim.AdamW(common, lr=rate, weight_decay=decay))
    elif common:
        made.append(
            torch.optim.SGD(common, lr=rate, momentum=settings.momentum, weight_decay=decay)
        )
    if own:
        made.append(torch.optim.Adam(own))
    return made


def set_rates(optimisers: Sequence[torch.optim.Optimizer], share: float) -> None:
    """Sets every group to a share of its own base rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = share * group["base_rate"]


def rate_share(settings: OptimiserSettings, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then (1 + cos(pi x progress)) / 2 from its end, by step or by epoch.

    As in MoCo v3's code: progress = (epoch - warm-up) / (epochs - warm-up).
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if settings.decay == "epoch":
        step -= step % steps_per_epoch
    progress = max(0.0, step - warmup) / (settings.epochs * steps_per_epoch - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
