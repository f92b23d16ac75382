"""The parity table of docs/export.md: every family of backbones, by pooling, by precision.

Exports each encoder as `fgembed export` does and compares ONNX Runtime with torch on images that
it draws. Weights are random, batch norms and whitenings fitted on the images: this is of graphs
and their numbers, not of what a trained encoder loses, which export measures for each bundle. All
layers are int8.

    python -m benchmarks.parity_table --out docs/parity.md
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fgembed.backbones import make_backbone
from fgembed.config import PoolingSettings
from fgembed.cores import core_count
from fgembed.demo.drawing import draw_set
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.evaluation.floors import uncalibrated_start
from fgembed.export.parity import Parity, measure_parity, parity_images
from fgembed.export.precision_loss import AgreementDrop
from fgembed.export.quantize import Quantised, write_int8
from fgembed.export.to_onnx import write_half_onnx, write_onnx
from fgembed.images.decoding import Pixels
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.encoder_files import load_encoder, save_encoder
from fgembed.model.pooling import MeanPooling, make_pooling
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass

BACKBONES = (
    "torchvision/resnet18",
    "torchvision/mobilenet_v2",
    "torchvision/convnext_tiny",
    "torchvision/efficientnet_b0",
    "torchvision/vit_b_32",
    "timm/resnet18",
    "timm/mobilenetv3_small_050",
    "timm/convnext_atto",
    "timm/efficientnet_b0",
    "timm/vit_tiny_patch16_224",
    "open_clip/RN50",
    "open_clip/ViT-S-32",
)
CALIBRATED = "calibrated"  # the fitted reading and mirror image of `train --method none`
READINGS = ("mean", "gem", "rationale", CALIBRATED)
HEADER = [
    (
        "| backbone | read by | fp32: least cosine | largest difference | same nearest "
        "| fp16: least cosine | same nearest | int8: layers | mean cosine | same nearest |"
    ),
    "|---|---|---|---|---|---|---|---|---|---|",
]


@dataclass(frozen=True)
class Measured:
    """One encoder through its three files."""

    backbone: str
    reading: str
    fp32: Parity
    fp16: Parity
    int8: Parity
    quantised: Quantised

    def line(self) -> str:
        """Its row."""
        cells = (
            self.backbone,
            self.reading,
            f"{self.fp32.min_cosine:.7f}",
            f"{self.fp32.max_difference:.1e}",
            f"{self.fp32.top1_agreement:.1%}",
            f"{self.fp16.min_cosine:.5f}",
            f"{self.fp16.top1_agreement:.1%}",
            str(self.quantised.layers),
            f"{self.int8.mean_cosine:.4f}",
            f"{self.int8.top1_agreement:.1%}",
        )
        return "| " + " | ".join(cells) + " |"


def measure(
    backbones: Sequence[str], readings: Sequence[str], photos: Path, size: int
) -> Iterator[Measured]:
    """Each backbone by each reading.

    Raises:
        IntegrityError: a float32 or float16 file is not within its limits.
    """
    spec = Preprocessing(size=size)
    pixels = parity_images(photos, spec)
    for backbone in backbones:
        for reading in readings:
            torch.manual_seed(0)
            encoder = encoder_of(backbone, reading, spec, photos, pixels)
            with tempfile.TemporaryDirectory() as folder:
                save_encoder(Path(folder), encoder, spec)  # exported from disk, as runs are
                encoder, _ = load_encoder(Path(folder))
                yield _measured(encoder, backbone, reading, spec, pixels, Path(folder))


def encoder_of(
    backbone: str, reading: str, spec: Preprocessing, photos: Path, pixels: Pixels
) -> Encoder:
    """An encoder with random weights; batch norms and whitening are fitted on the images."""
    network = make_backbone(backbone, size=spec.size)
    _fit_norms(network, PixelEncoder(Encoder(network, MeanPooling()), spec), pixels)
    if reading != CALIBRATED:
        return Encoder(network, make_pooling(reading, network.channels)).eval()
    encoder = uncalibrated_start(network, PoolingSettings()).eval()
    settings = PoolingSettings().of_the_floor()
    shared = SharedPass({CALIBRATED: encoder}, spec, torch.device("cpu"))
    shared.calibrate(find_images(photos)[0], FitSettings.of(settings))
    return encoder


@torch.no_grad()
def _fit_norms(network: nn.Module, model: PixelEncoder, pixels: Pixels) -> None:
    """Without it maps of random networks fade from layer to layer, down to nothing in float16."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
    model.train()
    for start in range(0, len(pixels), 50):
        model(torch.from_numpy(pixels[start : start + 50]))
    model.eval()


def main() -> None:
    """Prints the table as it grows, and writes it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--readings", nargs="+", choices=READINGS, default=READINGS)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(core_count())
    lines = list(HEADER)
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as name:
        draw_set(Path(name) / "drawn", train=10, test=1, size=128)
        photos = Path(name) / "drawn" / "train"
        for row in measure(arguments.backbones, arguments.readings, photos, arguments.size):
            lines.append(row.line())
            print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def _measured(
    encoder: Encoder,
    backbone: str,
    reading: str,
    spec: Preprocessing,
    pixels: Pixels,
    folder: Path,
) -> Measured:
    files = {name: folder / f"{name}.onnx" for name in ("fp32", "fp16", "int8")}
    write_onnx(encoder, spec, files["fp32"])
    write_half_onnx(encoder, spec, files["fp16"])
    judge = AgreementDrop(files["fp32"], pixels, spec)
    quantised = write_int8(files["fp32"], files["int8"], spec, pixels, judge, max_drop=100)
    model = PixelEncoder(encoder, spec).eval()
    parities = {
        name: measure_parity(model, OnnxEmbedder(file, spec, "cpu"), pixels, precision=name)
        for name, file in files.items()
    }
    for name, parity in parities.items():
        try:
            parity.enforce()
        except FgembedError as error:
            print(f"{backbone}, {reading}, {name}: {error}", flush=True)
    return Measured(backbone, reading, **parities, quantised=quantised)


if __name__ == "__main__":
    main()
