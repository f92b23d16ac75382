"""Embeds pictures with a bundle's ONNX file through ONNX Runtime."""

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from fgembed.cores import core_count
from fgembed.errors import DeviceError, IntegrityError
from fgembed.image_batches import Embedded, embed_paths
from fgembed.images import Pixels, Preprocessing
from fgembed.metrics import Vectors

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxEmbedder:
    """uint8 pixels in, unit vectors and rationales out."""

    def __init__(self, model: Path, spec: Preprocessing, device: str = "auto") -> None:
        """Opens a session.

        Args:
            model: the ONNX file.
            spec: its preprocessing.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            DeviceError: `cuda` was asked for and the session does not run on it.
            IntegrityError: ONNX Runtime cannot load the file.
        """
        self.spec = spec
        self.session = _open_session(model, device)

    def run(self, pixels: Pixels) -> tuple[Vectors, Vectors]:
        """(B, size, size, 3) uint8 -> embeddings (B, D) and rationales (B, h, w), float32."""
        embedding, rationale = self.session.run(["embedding", "rationale"], {"image": pixels})
        return embedding, rationale

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """The vectors of the pictures that could be read, in the order of `paths`."""
        return embed_paths(self.vectors, paths, self.spec)

    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> embeddings (B, D)."""
        return self.run(pixels)[0]


def _open_session(model: Path, device: str) -> Any:
    onnxruntime.set_default_logger_severity(4)  # what matters is raised below, in one line
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = core_count()
    options.log_severity_level = 4
    use_cuda = device == "cuda" or (device == "auto" and _gpu_may_work())
    if use_cuda and hasattr(onnxruntime, "preload_dlls"):
        # CUDA libraries that pip installed, which no loader finds; it prints those that are
        # missing, on stdout, where our results go.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    wanted = [PROVIDERS["cuda"]] * use_cuda + [PROVIDERS["cpu"]]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=wanted)
    except Exception as error:
        # ONNX Runtime raises a class of its own for each kind of failure.
        raise IntegrityError(f"ONNX Runtime cannot load {model}: {error}") from None
    if device == "cuda" and PROVIDERS["cuda"] not in session.get_providers():
        raise DeviceError(
            f"device cuda was asked for, but ONNX Runtime runs on {session.get_providers()[0]}; "
            'see "fgembed doctor" for the cause, or use --device cpu'
        )
    return session


def _gpu_may_work() -> bool:
    """Whether trying CUDA is worth its time: the wheel has it, and on Linux a device exists."""
    has_device = sys.platform != "linux" or Path("/dev/nvidiactl").exists()
    return has_device and PROVIDERS["cuda"] in onnxruntime.get_available_providers()
