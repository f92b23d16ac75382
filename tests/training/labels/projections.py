"""The last layer of a run, and what labels make of one."""

from pathlib import Path

import torch

from fgembed.images.finding import find_images
from fgembed.model.encoder_files import load_encoder
from fgembed.model.reading.label_whitening import label_layer
from fgembed.model.tensor_files import read_tensors
from fgembed.model.torch_embedder import TorchEmbedder

CPU = torch.device("cpu")


def projection(run: Path) -> torch.Tensor:
    return read_tensors(run / "encoder.safetensors")["whitening.projection"]


def expected_projection(encoder_run: Path, few: Path, train_images: Path) -> torch.Tensor:
    """Of the run's start, which was fitted without labels, followed by the label layer."""
    encoder, spec = load_encoder(encoder_run)
    paths = sorted(few.rglob("*.jpg"))
    classes = torch.tensor([sorted({p.parent for p in paths}).index(p.parent) for p in paths])
    embedder = TorchEmbedder(encoder, spec, CPU)
    vectors = [torch.from_numpy(embedder(p).vectors) for p in (paths, find_images(train_images)[0])]
    assert encoder.whitening is not None
    return encoder.whitening.projection.double() @ label_layer(vectors[0], classes, vectors[1])
