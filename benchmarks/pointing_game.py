"""Where do the maps of trained encoders peak? The pointing game on drawn beetles.

The deciding part of every drawn beetle is known, so a map can be right or wrong. For each run on
the drawn set: the share of test images in which the peak of a map falls on the deciding part
(Zhang et al., arXiv:1608.00507), beside the image's centre, chance, and the untouched start.

    fgembed demo --out demo
    cd demo && fgembed train --config ... --run another      # further runs on the same images
    python benchmarks/pointing_game.py --demo demo --run demo --run another --image maps.png
"""

import argparse
import json
import platform
import textwrap
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fgembed.backbones import Backbone
from fgembed.cores import core_count
from fgembed.evaluation.metrics import pointing_game
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.components.losses import in_batch_nce
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.encoder_files import load_encoder
from fgembed.model.maps import grad_cam
from fgembed.model.pooling import MeanPooling, RationalePooling

Maps = NDArray[np.float32]


def pictures_and_masks(demo: Path, spec: Preprocessing) -> tuple[Pixels, NDArray[np.bool_]]:
    """The test images as the encoder sees them, (N, S, S, 3), and their masks, (N, H, W)."""
    paths, _ = find_images(demo / "photos" / "test")
    pixels = np.concatenate([batch for _, batch in ImageBatches(paths, spec, threads=core_count())])
    masks = demo / "photos" / "masks" / "test"
    return pixels, np.stack(
        [
            np.asarray(Image.open(masks / path.parent.name / f"{path.stem}.png")) > 127
            for path in paths
        ]
    )


def normalised(encoder: Encoder, pixels: Pixels, spec: Preprocessing) -> list[Tensor]:
    """Batches of 64 normalised images."""
    model = PixelEncoder(encoder, spec)
    return [
        model.normalised(torch.from_numpy(pixels[i : i + 64])) for i in range(0, len(pixels), 64)
    ]


def contrastive_cam(backbone: Backbone, images: Tensor, sign: int) -> Tensor:
    """Grad-CAM of a contrast between the images and their mirror images, without a projector.

    +1 marks what raises the loss, LCR's own target; -1 what lowers it, Grad-CAM as usual.
    """
    features = backbone(images).requires_grad_()
    mirrored = backbone(images.flip(3)).mean(dim=(2, 3))
    loss = in_batch_nce(features.mean(dim=(2, 3)), mirrored, 0.2)
    (gradient,) = torch.autograd.grad(loss, features)
    return grad_cam(features.detach(), gradient, sign)


def maps_of(encoder: Encoder, batches: list[Tensor]) -> dict[str, Maps]:
    """Every map that the encoder has, by name, (N, h, w) each."""
    with torch.no_grad():
        by_name = {
            "activation": [MeanPooling().rationale(encoder.features(images)) for images in batches]
        }
        if isinstance(encoder.pooling, RationalePooling):
            by_name["rationale"] = [encoder.rationale(images) for images in batches]
        if encoder.backbone.has_attention:
            last = [encoder.backbone.attention(images)[-1] for images in batches]
            by_name["attention of the last layer"] = last
    for sign, name in ((1, "raises"), (-1, "lowers")):
        by_name[f"Grad-CAM, what {name} the contrastive loss"] = [
            contrastive_cam(encoder.backbone, images, sign) for images in batches
        ]
    return {name: torch.cat(maps).numpy() for name, maps in by_name.items()}


def draw(file: Path, pixels: Pixels, masks: NDArray[np.bool_], shown: dict[str, Maps]) -> None:
    """Six images, one a row: the image, its deciding part, and each map over it."""
    rows = np.linspace(0, len(pixels) - 1, 6).astype(int)
    figure = Figure(figsize=(1.6 * (2 + len(shown)), 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2 + len(shown))
    for line, row in zip(axes, rows, strict=True):
        line[0].imshow(pixels[row])
        line[1].imshow(masks[row], cmap="gray")
        side = pixels.shape[1]
        for axis, maps in zip(line[2:], shown.values(), strict=True):
            coarse = torch.from_numpy(maps[row])[None, None].float()
            smooth = F.interpolate(coarse, (side, side), mode="bilinear")[0, 0].numpy()
            axis.imshow(pixels[row])
            axis.imshow(smooth, cmap="inferno", alpha=0.6)
        for axis in line:
            axis.set_axis_off()
    for axis, name in zip(axes[0], ["picture", "deciding part", *shown], strict=True):
        axis.set_title(textwrap.fill(name, 20), fontsize=7)
    canvas = BytesIO()
    figure.savefig(canvas, dpi=80)
    Image.open(canvas).convert("RGB").quantize(128).save(file, optimize=True)


def main() -> None:
    """Plays the game and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True, help="folder that `fgembed demo` made")
    parser.add_argument("--run", action="append", required=True, help="name of a run in it")
    parser.add_argument("--picture", type=Path, help="PNG of the maps")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    _, spec = load_encoder(options.demo / "runs" / options.run[0])
    pixels, masks = pictures_and_masks(options.demo, spec)
    shares = {"the centre": float(pointing_game(np.ones((len(masks), 1, 1)), masks).mean())}
    shares["anywhere (the part's share of the image)"] = float(masks.mean())
    shown: dict[str, Maps] = {}
    for name in options.run:
        folder = options.demo / "runs" / name
        for label, encoder_folder in (("start", folder / "start"), (f"run {name}", folder)):
            encoder, _ = load_encoder(encoder_folder)
            if label == "start" and name != options.run[0]:
                continue
            for kind, maps in maps_of(encoder, normalised(encoder, pixels, spec)).items():
                shares[f"{label}: {kind}"] = float(pointing_game(maps, masks).mean())
                shown[f"{label}: {kind}"] = maps
    print(f"{len(masks)} test images, torch {torch.__version__}, {platform.machine()}\n")
    print("| peak of | on the deciding part |\n|---|---|")
    for name, share in shares.items():
        print(f"| {name} | {100 * share:.1f} % |")
    if options.json:
        options.json.write_text(json.dumps(shares, indent=1) + "\n")
    if options.picture:
        draw(options.picture, pixels, masks, shown)


if __name__ == "__main__":
    main()
