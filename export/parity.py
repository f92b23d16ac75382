"""Does the exported file give what torch gives, and the same neighbours, on real pictures?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import PixelEncoder

BATCHES = (1, 2, 7, 32)
PARITY_IMAGES = 200


@dataclass(frozen=True)
class Limits:
    """How far a file may be from torch.

    Attributes:
        min_cosine: of a picture's two embeddings, at least.
        max_difference: of a component of an embedding or a rationale, at most.
        max_order_gap: neighbours nearer to each other than this may change places.
    """

    min_cosine: float
    max_difference: float
    max_order_gap: float


LIMITS = {  # int8 is limited by what it finds, see fgembed.export.precision_loss
    "fp32": Limits(min_cosine=0.9999, max_difference=1e-3, max_order_gap=1e-4),
    "fp16": Limits(min_cosine=0.99, max_difference=0.1, max_order_gap=0.05),
}


@dataclass(frozen=True)
class Parity:
    """ONNX Runtime on one file against torch.

    Attributes:
        precision: of the file.
        images: real pictures compared.
        batches: the batch sizes at which all of them were embedded.
        min_cosine: smallest cosine of a picture's two embeddings, over all batch sizes.
        mean_cosine: their mean.
        max_difference: largest difference of a component of an embedding or a rationale.
        top1_agreement: share of pictures with the same nearest neighbour.
        top10_agreement: mean overlap of the ten nearest neighbours.
        max_order_gap: largest difference of torch's scores among neighbours that ONNX Runtime
            ranks the other way round.
    """

    precision: str
    images: int
    batches: tuple[int, ...]
    min_cosine: float
    mean_cosine: float
    max_difference: float
    top1_agreement: float
    top10_agreement: float
    max_order_gap: float

    def to_json(self) -> dict[str, Any]:
        """What was measured, with the limits that are enforced."""
        limits = LIMITS.get(self.precision)
        return asdict(self) | {"limits": asdict(limits) if limits else {}}

    def sentence(self) -> str:
        """The measured values in one line."""
        return (
            f"cosine >= {self.min_cosine:.7f}, same nearest neighbour {self.top1_agreement:.1%}, "
            f"top-10 overlap {self.top10_agreement:.1%}"
        )

    def enforce(self) -> None:
        """Refuses a graph that is not torch's.

        Raises:
            IntegrityError: a limit is broken.
        """
        limits = LIMITS.get(self.precision)
        if limits is None:
            return
        for name, kept in (
            ("min_cosine", self.min_cosine >= limits.min_cosine),
            ("max_difference", self.max_difference <= limits.max_difference),
            ("max_order_gap", self.max_order_gap <= limits.max_order_gap),
        ):
            if not kept:
                raise IntegrityError(
                    f"the exported {self.precision} graph does not agree with torch: {name} is "
                    f"{getattr(self, name):.6g}, the limit is {getattr(limits, name):g}",
                    "no bundle was written",
                )


class Graph(Protocol):
    """What runs an exported file."""

    def run(self, pixels: Pixels) -> tuple[Vectors, Vectors]:
        """(B, size, size, 3) uint8 -> embeddings (B, D) and rationales (B, h, w)."""
        ...


def measure_parity(
    model: PixelEncoder,
    embedder: Graph,
    pixels: Pixels,
    given: Pixels | None = None,
    precision: str = "fp32",
) -> Parity:
    """Compares the two on (N, size, size, 3) uint8 pictures, N >= 1, at every batch size.

    Args:
        model: torch's.
        embedder: ONNX Runtime's.
        pixels: the pictures as the model was trained to see them.
        given: the same as who uses the file will read them; `pixels` if None.
        precision: of the file.

    Raises:
        IntegrityError: the file does not run at a batch size, or gives vectors of other length.
    """
    expected, expected_maps = _torch_outputs(model, pixels)
    cosines, neighbours, difference = [], [], 0.0
    for batch in BATCHES:
        actual, maps = _in_batches(embedder, pixels if given is None else given, batch)
        if (actual.shape, maps.shape) != (expected.shape, expected_maps.shape):
            raise IntegrityError(
                f"the exported graph gives {actual.shape} and {maps.shape} where torch gives "
                f"{expected.shape} and {expected_maps.shape}",
                "no bundle was written",
            )
        cosines.append((expected * actual).sum(axis=1))
        neighbours.append(compare_neighbours(expected, actual))
        difference = max(
            difference,
            float(np.abs(expected - actual).max()),
            float(np.abs(expected_maps - maps).max()),
        )
    top1, top10, gaps = zip(*neighbours, strict=True)
    return Parity(
        precision,
        len(pixels),
        BATCHES,
        float(np.min(cosines)),
        float(np.mean(cosines)),
        difference,
        min(top1),
        min(top10),
        max(gaps),
    )


def parity_images(images: Path, spec: Preprocessing, count: int = PARITY_IMAGES) -> Pixels:
    """Up to `count` readable pictures spread over the folder, (N, size, size, 3) uint8."""
    found, _ = find_images(images)
    chosen = evenly_spaced(len(found), count)
    batches = list(ImageBatches([found[i] for i in chosen], spec, threads=core_count()))
    if not batches:
        raise NotFoundError(f"no readable picture in {images}", "parity needs real ones")
    return np.concatenate([pixels for _, pixels in batches])


def compare_neighbours(expected: Vectors, actual: Vectors) -> tuple[float, float, float]:
    """Top-1 agreement, top-10 overlap, and the largest score gap of a pair out of order.

    Args:
        expected: (N, D) unit vectors.
        actual: (N, D) unit vectors of the same pictures.
    """
    scores = expected @ expected.T
    other = actual @ actual.T
    np.fill_diagonal(scores, -np.inf)
    np.fill_diagonal(other, -np.inf)
    order, other_order = (np.argsort(-s, axis=1, kind="stable")[:, :-1] for s in (scores, other))
    if order.shape[1] == 0:
        return 1.0, 1.0, 0.0
    top1 = float((order[:, 0] == other_order[:, 0]).mean())
    shared = [
        len(set(a[:10]) & set(b[:10])) / len(a[:10])
        for a, b in zip(order, other_order, strict=True)
    ]
    ranked = np.take_along_axis(scores, other_order, axis=1)
    rises = ranked - np.minimum.accumulate(ranked, axis=1)
    return top1, float(np.mean(shared)), float(rises.max())


@torch.inference_mode()
def _torch_outputs(model: PixelEncoder, pixels: Pixels) -> tuple[Vectors, Vectors]:
    parts = [model(torch.from_numpy(pixels[i : i + 32])) for i in range(0, len(pixels), 32)]
    vectors, maps = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return vectors, maps


def _in_batches(embedder: Graph, pixels: Pixels, batch: int) -> tuple[Vectors, Vectors]:
    try:
        parts = [embedder.run(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
    except Exception as error:  # a class of ONNX Runtime's own for each kind of failure
        raise IntegrityError(
            f"the exported graph does not run on a batch of {batch}: {error}",
            "no bundle was written",
        ) from None
    vectors, maps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return vectors, maps
