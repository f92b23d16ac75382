"""Pictures a second from JPEG files to vectors, against the model alone, in one run.

The floor is ONNX Runtime in a bare loop on pixels that are ready: what any reading of files can
only lose. Beside it torch on the same pixels, and a timm-style DataLoader with torch from the same
files. One pass of each in turn, several rounds; a ratio is the median over rounds, so a machine
that others use slows all of them alike. Weights are random: the time does not depend on them.

    python -m benchmarks.embed --backbone torchvision/mobilenet_v2 --reading mean --out embed.json
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fgembed.backbones import make_backbone
from fgembed.calibration import Whitening
from fgembed.config import PoolingSettings
from fgembed.cores import core_count
from fgembed.encoder import Encoder, PixelEncoder
from fgembed.export.to_onnx import write_onnx
from fgembed.floors import calibrated_start
from fgembed.images import Pixels, Preprocessing, load_rgb, read_image
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.pooling import MeanPooling

FLOOR = "onnx runtime, ready pixels"
OURS = "fgembed, JPEG files"
BATCH = 32  # of the peers; ours and the floor's are the embedder's own


class Files(Dataset[torch.Tensor]):
    """Pictures as a DataLoader gives them: decoded whole and resized."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        image = load_rgb(self.paths[place]).resize(
            (self.size, self.size), Image.Resampling.BILINEAR
        )
        return torch.from_numpy(np.asarray(image).copy())


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of 500 x 375 px as large as photographs': smooth shapes under camera noise."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = (image + random.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:05}.jpg", quality=90)
    return sorted(folder.iterdir())


def encoder_of(backbone: str, size: int, reading: str) -> Encoder:
    """Mean pooling, or the calibrated reading with its mirror image; random weights."""
    network = make_backbone(backbone, size=size)
    if reading == "mean":
        return Encoder(network, MeanPooling()).eval()
    encoder = calibrated_start(network, PoolingSettings())
    encoder.whitening = Whitening(encoder.dimensions, min(512, encoder.dimensions))
    return encoder.eval()


def contestants(
    encoder: Encoder, spec: Preprocessing, folder: Path, paths: Sequence[Path], compiled: bool
) -> dict[str, Callable[[], None]]:
    """By name, what embeds all the pictures once."""
    write_onnx(encoder, spec, folder / "model.onnx")
    embedder = OnnxEmbedder(folder / "model.onnx", spec, "cpu")
    pixels = np.stack([read_image(path, spec) for path in paths])
    eager = PixelEncoder(encoder, spec).eval().to(memory_format=torch.channels_last)
    rivals: dict[str, Callable[[], None]] = {
        FLOOR: lambda: _onnx_loop(embedder, pixels),
        OURS: lambda: _ours(embedder, paths),
        "torch eager, ready pixels": lambda: _torch_loop(eager, pixels),
        "torch eager, DataLoader from JPEG files": lambda: _loader_loop(eager, paths, spec.size),
    }
    if compiled:
        quick = torch.compile(eager, dynamic=False)
        rivals["torch compiled, ready pixels"] = lambda: _torch_loop(quick, pixels)
    return rivals


def measure(rivals: dict[str, Callable[[], None]], pictures: int, rounds: int) -> dict[str, Any]:
    """Pictures a second, and the median ratio to the floor, of each; one round first uncounted."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for counted in [False] + [True] * rounds:
        for name, embed in rivals.items():
            started = time.perf_counter()
            embed()
            if counted:
                seconds[name].append(time.perf_counter() - started)
    floor = seconds[FLOOR]
    return {
        name: {
            "images_per_s": round(pictures / statistics.median(times), 1),
            "ratio_to_floor": round(
                statistics.median(f / t for f, t in zip(floor, times, strict=True)), 3
            ),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    """Prints the figures as JSON, and writes them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--reading", choices=["mean", "calibrated"], default="mean")
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--compiled", action="store_true", help="also torch.compile (needs a C++ compiler)"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(core_count())
    with tempfile.TemporaryDirectory() as name:
        folder, spec = Path(name), Preprocessing(size=arguments.size)
        paths = photographs(folder / "photographs", arguments.pictures)
        encoder = encoder_of(arguments.backbone, arguments.size, arguments.reading)
        rivals = contestants(encoder, spec, folder, paths, arguments.compiled)
        found = {
            "machine": f"{platform.machine()}, {platform.platform()}, {core_count()} cores",
            "backbone": arguments.backbone,
            "size": arguments.size,
            "reading": arguments.reading,
            "pictures": len(paths),
            "kilobytes_a_file": round(sum(p.stat().st_size for p in paths) / len(paths) / 1e3, 1),
            "rivals": measure(rivals, len(paths), arguments.rounds),
        }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def _ours(embedder: OnnxEmbedder, paths: Sequence[Path]) -> None:
    assert len(embedder(paths).vectors) == len(paths)


def _onnx_loop(embedder: OnnxEmbedder, pixels: Pixels) -> None:
    for start in range(0, len(pixels), BATCH):
        embedder.vectors(pixels[start : start + BATCH])


@torch.inference_mode()
def _torch_loop(model: Callable[[torch.Tensor], Any], pixels: Pixels) -> None:
    for start in range(0, len(pixels), BATCH):
        model(torch.from_numpy(pixels[start : start + BATCH]))


@torch.inference_mode()
def _loader_loop(model: PixelEncoder, paths: Sequence[Path], size: int) -> None:
    for batch in DataLoader(Files(paths, size), batch_size=BATCH, num_workers=core_count()):
        model(batch)


if __name__ == "__main__":
    main()
