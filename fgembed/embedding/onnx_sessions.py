"""ONNX Runtime sessions: on the provider that was asked for, or a clear refusal."""

import contextlib
import hashlib
import io
import platform
import re
import sys
from pathlib import Path
from typing import Any

import onnxruntime

from fgembed.disk.files import sha256
from fgembed.disk.temporaries import sweep_abandoned, temporary
from fgembed.errors import ConfigError, DeviceError, IntegrityError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DEVICES = {"cpu": CPU, "cuda": CUDA}
BROUGHT_BY = {  # the package that has a provider; two ONNX Runtimes never go together
    CUDA: "onnxruntime-gpu",
    TENSORRT: "onnxruntime-gpu and tensorrt",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "CoreMLExecutionProvider": "onnxruntime on macOS",
    "DmlExecutionProvider": "onnxruntime-directml on Windows",
}


def open_session(model: Path, device: str, threads: int, keep: Path | None = None) -> Any:
    """A session that runs on the device asked for.

    Args:
        model: the ONNX file.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        threads: of one inference on a CPU.
        keep: beginning of the name of files in which the graph is kept as ONNX Runtime optimises
            it for this CPU, so that it opens faster the next time; None keeps none.

    Raises:
        ConfigError: ONNX Runtime knows no such provider.
        DeviceError: the session does not run on what was asked for.
        IntegrityError: ONNX Runtime cannot load the file.
    """
    onnxruntime.set_default_logger_severity(4)  # what matters is raised below, in one line
    wanted = _wanted(device)
    if wanted == CPU and keep is not None:
        return _kept_session(model, threads, keep)
    try:
        session = _session(model, threads, wanted)
    except DeviceError:
        if device == "auto":
            return _session(model, threads, CPU)
        raise
    if wanted not in session.get_providers() and device != "auto":
        raise DeviceError(
            f"device {device} was asked for, but ONNX Runtime runs on "
            f"{session.get_providers()[0]}; it needs a driver and CUDA's libraries "
            '("pip install onnxruntime-gpu[cuda,cudnn]")',
            'see "fgembed doctor", or use --device cpu',
        )
    return session


def _wanted(device: str) -> str:
    """The provider to try; for `auto` CUDA where it may work."""
    if device == "auto":
        return CUDA if _gpu_may_work() else CPU
    provider = DEVICES.get(device, device)
    known, there = onnxruntime.get_all_providers(), onnxruntime.get_available_providers()
    if provider not in known:
        raise ConfigError(
            f"ONNX Runtime knows no provider {provider!r}", f"this one has {', '.join(there)}"
        )
    if provider not in there:
        package = BROUGHT_BY.get(provider, "an ONNX Runtime that is built with it")
        raise DeviceError(
            f"{provider} was asked for, but this ONNX Runtime has {', '.join(there)}",
            f"install {package} in its place, or use --device cpu",
        )
    return provider


def _gpu_may_work() -> bool:
    """Whether trying CUDA is worth its time: the wheel has it, and on Linux a device exists."""
    has_device = sys.platform != "linux" or Path("/dev/nvidiactl").exists()
    return has_device and CUDA in onnxruntime.get_available_providers()


def _session(model: Path, threads: int, provider: str, options: Any = None) -> Any:
    options = options or _options(threads)
    chain = list(dict.fromkeys([provider, *([CUDA] if provider == TENSORRT else []), CPU]))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where our results go
            if CUDA in chain and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # that pip installed, which no loader finds
            # Its own falling back to a CPU would be silent to who reads our results.
            return onnxruntime.InferenceSession(model, options, providers=chain, enable_fallback=0)
    except Exception as error:
        # ONNX Runtime raises a class of its own for each kind of failure.
        if provider == CPU:
            raise IntegrityError(f"ONNX Runtime cannot load {model}: {error}") from None
        _session(model, threads, CPU)
        reason = re.sub(
            r"^/\S+:\d+ .*?\) (?=[A-Z])", "", str(error).strip().splitlines()[0].rstrip(".")
        )
        raise DeviceError(
            f"{provider} does not start: {reason}",
            "install what it needs "
            f"({BROUGHT_BY.get(provider, 'see its page at onnxruntime.ai')}), or use --device cpu",
        ) from None


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # All but the last level, in which ONNX Runtime 1.31 crashes on float16 transformers; it has
    # nothing for the others.
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = getattr(levels, "ORT_ENABLE_LAYOUT", levels.ORT_ENABLE_ALL)
    options.log_severity_level = 4
    return options


def _kept_session(model: Path, threads: int, keep: Path) -> Any:
    """Opens the optimised graph of an earlier session, or has this one write it."""
    own = f"{keep.name}-{_machine()}-"
    for kept in keep.parent.glob(f"{own}*.onnx"):
        if _is_sound(kept, own):
            options = _options(threads)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            with contextlib.suppress(IntegrityError):
                return _session(kept, threads, CPU, options)
        with contextlib.suppress(OSError):
            kept.unlink()  # damaged, or of another ONNX Runtime
    with temporary(keep.parent / own) as written:
        try:
            keep.parent.mkdir(exist_ok=True)
            sweep_abandoned(keep.parent / own)
            written.touch()
        except OSError:  # a bundle that may only be read
            return _session(model, threads, CPU)
        options = _options(threads)
        options.optimized_model_filepath = str(written)
        try:
            session = _session(model, threads, CPU, options)
            written.rename(keep.parent / f"{own}{_version()}-{sha256(written)[:32]}.onnx")
        except (IntegrityError, OSError):  # the disk is full, or the model is damaged
            session = _session(model, threads, CPU)
    return session


def _is_sound(kept: Path, own: str) -> bool:
    """Whether it is of this ONNX Runtime and has the checksum that its name says."""
    try:
        return kept.name == f"{own}{_version()}-{sha256(kept)[:32]}.onnx"
    except OSError:
        return False


def _version() -> str:
    return str(onnxruntime.__version__)


def _machine() -> str:
    """What ONNX Runtime's choice of kernels may depend on, as 16 hexadecimal digits."""
    cpu = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu += "".join(sorted({x for x in lines if x.startswith(("flags", "Features"))}))
    return hashlib.sha256(cpu.encode()).hexdigest()[:16]
