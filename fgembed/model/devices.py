"""Selects torch's device; one that is requested and missing is an error."""

import torch

from fgembed.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """The device for `cpu`, `cuda` or `auto`: a GPU if torch sees one.

    Raises:
        DeviceError: `cuda` is requested and torch sees no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device cuda was requested, but torch {torch.__version__} sees no GPU",
            'check the driver with "fgembed doctor", or use --device cpu',
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
