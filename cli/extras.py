"""Optional dependencies that a command needs, looked for before it begins."""

import importlib.util

from fgembed.errors import MissingExtraError


def require_torch() -> None:
    """Checks that the training extra is installed.

    Raises:
        MissingExtraError: one of its modules is missing.
    """
    for module in ("torch", "torchvision", "safetensors", "tensorboard", "onnx", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("this command", module, "train")
