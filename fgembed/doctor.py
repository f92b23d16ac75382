"""The checks of `fgembed doctor`: each tries the real thing instead of trusting a list."""

import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from fgembed.cores import core_count

SERVING = ("numpy", "pillow", "faiss-cpu", "typer", "pydantic")
TRAINING = (
    "torch", "torchvision", "timm", "open_clip_torch", "safetensors", "onnx", "onnxscript",
    "tensorboard", "matplotlib",
)  # fmt: skip
# y = x for one float, as an ONNX file (ir 8, opset 13): enough to open a real session.
IDENTITY_MODEL = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a"
    "0179120a0a08080112040a02080142040a00100d"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; `ok` is None if it is neither good nor bad."""

    topic: str
    ok: bool | None
    text: str


def examine() -> list[Finding]:
    """The findings of every check, from the basics to the details."""
    return [
        Finding("python", None, f"{platform.python_version()} on {platform.platform()}"),
        Finding("cores", None, str(core_count())),
        *(_package(name, needed=True) for name in SERVING),
        *(_package(name, needed=False) for name in TRAINING),
        *_runtime(),
        *_torch_devices(),
        *_writable_folders(),
    ]


def _package(name: str, needed: bool) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        if needed:
            return Finding(name, False, 'missing; "pip install --force-reinstall fgembed"')
        return Finding(name, None, "not installed; training and export need fgembed[train]")


def _runtime() -> Iterator[Finding]:
    names = (d.metadata["Name"] or "" for d in distributions())
    wheels = sorted({name for name in names if name.lower().startswith("onnxruntime")})
    remedy = f'; keep one: "pip uninstall -y {" ".join(wheels)}", then install fgembed again'
    ok = len(wheels) == 1
    yield Finding("onnxruntime", ok, (", ".join(wheels) or "missing") + ("" if ok else remedy))
    try:
        import onnxruntime
    except ImportError as error:
        yield Finding("session", False, f"cannot import onnxruntime: {error}")
        return
    onnxruntime.set_default_logger_severity(4)  # a missing GPU is a finding, not a log line
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for provider in ("CUDAExecutionProvider", "CPUExecutionProvider"):
        session = onnxruntime.InferenceSession(IDENTITY_MODEL, options, providers=[provider])
        runs = provider in session.get_providers()
        needed = provider == "CPUExecutionProvider"
        text = "a real session runs on it" if runs else "not usable on this machine"
        yield Finding(provider, True if runs else (False if needed else None), text)


def _torch_devices() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding("torch devices", None, ", ".join(["cpu", *gpus]))


def _writable_folders() -> Iterator[Finding]:
    for topic, folder in (("working folder", Path.cwd()), ("cache folder", _cache_folder())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Finding(topic, False, f"cannot write {folder}: {error.strerror}")
        else:
            yield Finding(topic, True, f"{folder} is writable")


def _cache_folder() -> Path:
    """The folder of torchvision's downloads."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return Path(os.environ.get("TORCH_HOME", cache_home / "torch")).expanduser()
