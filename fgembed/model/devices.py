"""Which device computes: asked for is what you get, or a clear refusal."""

import torch

from fgembed.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises:
        DeviceError: `cuda` was asked for and torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device cuda was asked for, but torch {torch.__version__} sees no GPU",
            'check the driver with "fgembed doctor", or use --device cpu',
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
