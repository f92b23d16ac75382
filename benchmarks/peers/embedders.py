"""One process of `benchmarks.embed`: opens a rival, then embeds all images once a line read.

    python benchmarks/peers/embedders.py NAME FOLDER THREADS

Runs in the environment of the rival, so nothing but the standard library is imported above. The
folder holds `photographs/`, `pixels.npy`, `model.onnx`, `fastembed/` and `setup.json`. For each
line it prints the seconds and the most memory that the process has held so far.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 32
Embed = Callable[[], None]


def floor(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """ONNX Runtime in a bare loop on pixels that are ready, all cores on one batch."""
    import numpy as np
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        folder / setup.get("model", "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    pixels, batch = np.load(folder / "pixels.npy"), int(setup["floor_batch"])

    def embed() -> None:
        for start in range(0, len(pixels), batch):
            session.run(["embedding"], {"image": pixels[start : start + batch]})

    return embed


def fgembed(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """`index build` and `embed`: from JPEG files through the same ONNX file."""
    from fgembed.embedding.onnx_embedder import OnnxEmbedder
    from fgembed.images.preprocessing import Preprocessing

    spec = Preprocessing(size=setup["size"])
    embedder = OnnxEmbedder(folder / setup.get("model", "model.onnx"), spec, "cpu", bulk=True)
    paths = _photographs(folder)

    def embed() -> None:
        assert len(embedder(paths).vectors) == len(paths)

    return embed


def torch_eager(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """Torch on pixels that are ready, channels last; compiled where the setup says so."""
    import numpy as np
    import torch

    from benchmarks.embed import encoder_of
    from fgembed.images.preprocessing import Preprocessing
    from fgembed.model.encoder import PixelEncoder

    torch.set_num_threads(threads)
    encoder = encoder_of(setup["backbone"], setup["size"], setup["reading"])
    model = PixelEncoder(encoder, Preprocessing(size=setup["size"])).eval()
    model.to(memory_format=torch.channels_last)
    call = torch.compile(model, dynamic=False) if setup.get("compiled") else model
    pixels = torch.from_numpy(np.load(folder / "pixels.npy"))

    @torch.inference_mode()
    def embed() -> None:
        for batch in pixels.split(BATCH):
            call(batch)

    return embed


def torch_compiled(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """torch.compile on pixels that are ready; it needs a C++ compiler."""
    return torch_eager(folder, setup | {"compiled": True}, threads)


def timm(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """Timm's model and transform behind a torch DataLoader, from JPEG files."""
    import torch
    from PIL import Image
    from timm import create_model
    from timm.data.transforms_factory import create_transform
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(threads)
    model = create_model(setup["timm"], num_classes=0).eval().to(memory_format=torch.channels_last)
    transform = create_transform(setup["size"], crop_pct=1.0, crop_mode="squash")
    paths = _photographs(folder)

    class Files(Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, position: int) -> Any:
            return transform(Image.open(paths[position]).convert("RGB"))

    loader = DataLoader(Files(), BATCH, num_workers=threads, persistent_workers=True)

    @torch.inference_mode()
    def embed() -> None:
        for batch in loader:
            model(batch.to(memory_format=torch.channels_last))

    return embed


def fastembed(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """Fastembed on the graph of `fgembed export --layout fastembed`, from JPEG files."""
    from fastembed import ImageEmbedding

    model = ImageEmbedding(
        "Qdrant/resnet50-onnx",  # a model of its list whose files have the same names
        specific_model_path=str(folder / "fastembed"),
        threads=threads,
        providers=["CPUExecutionProvider"],
    )
    paths = _photographs(folder)

    def embed() -> None:
        assert len(list(model.embed(paths, batch_size=int(setup["fastembed_batch"])))) == len(paths)

    return embed


def fastembed_parallel(folder: Path, setup: dict[str, Any], threads: int) -> Embed:
    """Fastembed's own data-parallel processes, as it recommends for large sets."""
    from fastembed import ImageEmbedding

    model = ImageEmbedding(
        "Qdrant/resnet50-onnx",
        specific_model_path=str(folder / "fastembed"),
        providers=["CPUExecutionProvider"],
    )
    paths = _photographs(folder)
    batch = int(setup["fastembed_batch"])

    def embed() -> None:
        assert len(list(model.embed(paths, batch_size=batch, parallel=threads))) == len(paths)

    return embed


RIVALS: dict[str, Callable[[Path, dict[str, Any], int], Embed]] = {
    rival.__name__: rival
    for rival in (floor, fgembed, torch_eager, torch_compiled, timm, fastembed, fastembed_parallel)
}


def main() -> None:
    """Answers each line with one whole pass."""
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    setup = json.loads((folder / "setup.json").read_text())
    name, _, changes = name.partition(":")
    embed = RIVALS[name](folder, setup | json.loads(changes or "{}"), threads)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        embed()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "peak_mb": _peak_mb()}), flush=True)


def _peak_mb() -> float:
    """Of this process and of those it has running; ru_maxrss would count who started it.

    Processes of a pool that has ended are not seen.
    """
    family = [Path("/proc/self"), *(Path(f"/proc/{pid}") for pid in _children())]
    lines = [line for folder in family for line in (folder / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def _photographs(folder: Path) -> list[Path]:
    return sorted((folder / "photographs").iterdir())


if __name__ == "__main__":
    main()
