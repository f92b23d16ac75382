"""Scores trained encoders read as their floor is: what is left when the pooling is not their own?

GeM and whitening in the place of a learned pooling tell apart what a method did to the encoder and
what it does by its pooling.

    python benchmarks/read_as_floor.py runs/lcr-0 runs/lcr-1 --gallery g/train --queries g/test
"""

import argparse
from pathlib import Path

import torch

from fgembed.checkpoint import load_encoder
from fgembed.embedding import TorchEmbedder
from fgembed.encoder import Encoder, best_pooling
from fgembed.evaluate import Embed, floor_table, whitened_floor
from fgembed.images import find_images
from fgembed.training_run import FLOOR_WHITENING


def main() -> None:
    """Fits the whitening on the gallery's pictures, without their labels, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    arguments = parser.parse_args()
    paths, _ = find_images(arguments.gallery)
    embedders: dict[str, Embed] = {}
    for run in arguments.runs:
        for name, folder in ((None, run / "start"), (f"run {run.name}", run)):
            encoder, spec = load_encoder(folder)
            reading = Encoder(encoder.backbone, best_pooling(encoder.backbone))
            embedder = TorchEmbedder(reading, spec, torch.device("cpu"))
            embedder.calibrate(paths, FLOOR_WHITENING, shrinkage=1.0)
            embedders[name or whitened_floor(reading.pooling.kind)] = embedder
    print(floor_table(embedders, arguments.gallery, arguments.queries).markdown())


if __name__ == "__main__":
    main()
