"""ONNX Runtime sessions: on the requested provider, or a clear refusal."""

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
PROVIDER_PACKAGES = {  # one at a time: two packages of ONNX Runtime overwrite each other
    CUDA: "onnxruntime-gpu",
    TENSORRT: "onnxruntime-gpu and tensorrt",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "CoreMLExecutionProvider": "onnxruntime on macOS",
    "DmlExecutionProvider": "onnxruntime-directml on Windows",
}


def open_session(model: Path, device: str, threads: int, graph_cache: Path | None = None) -> Any:
    """A session that runs on the requested device.

    Args:
        model: the ONNX file.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        threads: of one inference on a CPU.
        graph_cache: prefix of the files that hold the graph as ONNX Runtime optimises it for this
            CPU, so that it opens faster the next time; None writes none.

    Raises:
        ConfigError: ONNX Runtime knows no such provider.
        DeviceError: the session does not run on the requested device.
        IntegrityError: ONNX Runtime cannot load the file.
    """
    onnxruntime.set_default_logger_severity(4)  # failures are raised below, in one line
    provider = _requested_provider(device)
    if provider == CPU and graph_cache is not None:
        return _cached_session(model, threads, graph_cache)
    try:
        session = _session(model, threads, provider)
    except DeviceError:
        if device == "auto":
            return _session(model, threads, CPU)
        raise
    if provider not in session.get_providers() and device != "auto":
        raise DeviceError(
            f"device {device} was requested, but ONNX Runtime runs on {session.get_providers()[0]}",
            "install a driver and CUDA's libraries "
            '("pip install onnxruntime-gpu[cuda,cudnn]", see "fgembed doctor"), '
            "or use --device cpu",
        )
    return session


def _requested_provider(device: str) -> str:
    """The provider to try; for `auto` it is CUDA where that may work."""
    if device == "auto":
        return CUDA if _gpu_may_work() else CPU
    provider = DEVICES.get(device, device)
    available = onnxruntime.get_available_providers()
    if provider not in onnxruntime.get_all_providers():
        raise ConfigError(
            f"ONNX Runtime knows no provider {provider!r}",
            f"give one that this installation has: {', '.join(available)}",
        )
    if provider not in available:
        package = PROVIDER_PACKAGES.get(provider, "an ONNX Runtime that is built with it")
        raise DeviceError(
            f"provider {provider} was requested, but this ONNX Runtime has {', '.join(available)}",
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
        with contextlib.redirect_stdout(io.StringIO()):  # commands print their results there
            if CUDA in chain and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # pip puts CUDA where no loader searches
            # Its own fallback to a CPU would go unnoticed.
            return onnxruntime.InferenceSession(model, options, providers=chain, enable_fallback=0)
    except Exception as error:
        # ONNX Runtime raises a class of its own for each kind of failure.
        if provider == CPU:
            raise IntegrityError(
                f"ONNX Runtime cannot load {model}: {error}",
                'restore it from a copy, or export the bundle again with "fgembed export"',
            ) from None
        _session(model, threads, CPU)  # a damaged model is not the provider's fault
        message = str(error).strip().splitlines()[0].rstrip(".")
        reason = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", message)
        package = PROVIDER_PACKAGES.get(provider, "see its page at onnxruntime.ai")
        raise DeviceError(
            f"{provider} does not start: {reason}",
            f"install what it needs ({package}), or use --device cpu",
        ) from None


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Not the last level, in which ONNX Runtime 1.31 crashes on float16 transformers; it does
    # nothing for the other models.
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = getattr(levels, "ORT_ENABLE_LAYOUT", levels.ORT_ENABLE_ALL)
    options.log_severity_level = 4
    return options


def _cached_session(model: Path, threads: int, graph_cache: Path) -> Any:
    """Opens the optimised graph of an earlier session, or the model, whose graph it writes."""
    prefix = f"{graph_cache.name}-{_machine()}-"
    for graph in graph_cache.parent.glob(f"{prefix}*.onnx"):
        if _is_sound(graph, prefix):
            options = _options(threads)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            with contextlib.suppress(IntegrityError):
                return _session(graph, threads, CPU, options)
        with contextlib.suppress(OSError):
            graph.unlink()  # damaged, or of another ONNX Runtime
    return _caching_session(model, threads, graph_cache.parent / prefix)


def _caching_session(model: Path, threads: int, target: Path) -> Any:
    """Opens the model and writes its optimised graph, whose path begins as `target` does."""
    with temporary(target) as graph:
        try:
            target.parent.mkdir(exist_ok=True)
            sweep_abandoned(target)
            graph.touch()
        except OSError:  # a read-only bundle
            return _session(model, threads, CPU)
        options = _options(threads)
        options.optimized_model_filepath = str(graph)
        try:
            session = _session(model, threads, CPU, options)
            graph.rename(f"{target}{_version()}-{sha256(graph)[:32]}.onnx")
        except (IntegrityError, OSError):  # the disk is full, or the model is damaged
            session = _session(model, threads, CPU)
    return session


def _is_sound(graph: Path, prefix: str) -> bool:
    """Whether it is of this ONNX Runtime and has the checksum in its name."""
    try:
        return graph.name == f"{prefix}{_version()}-{sha256(graph)[:32]}.onnx"
    except OSError:
        return False


def _version() -> str:
    return str(onnxruntime.__version__)


def _machine() -> str:
    """A digest of the CPU, which ONNX Runtime's choice of kernels may depend on: 16 hex digits."""
    cpu = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu += "".join(sorted({x for x in lines if x.startswith(("flags", "Features"))}))
    return hashlib.sha256(cpu.encode()).hexdigest()[:16]
