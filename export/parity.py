"""Whether an exported file gives torch's vectors and neighbours on real images."""

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
from fgembed.images.finding import find_images, scan
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import PixelEncoder

BATCHES = (1, 2, 7, 32)
PARITY_IMAGES = 200
REMEDY = 'report it with the versions that "fgembed doctor" prints, or try another onnxruntime'


@dataclass(frozen=True)
class Limits:
    """How far a file may be from torch.

    Attributes:
        min_cosine: lower limit of the cosine of an image's two embeddings.
        max_difference: upper limit of the difference of a component, in embedding or rationale.
        max_order_gap: neighbours whose scores differ by less may be ranked the other way round.
    """

    min_cosine: float
    max_difference: float
    max_order_gap: float


LIMITS = {  # int8 is limited by its recall, see fgembed.export.precision_loss
    "fp32": Limits(min_cosine=0.9999, max_difference=1e-3, max_order_gap=1e-4),
    "fp16": Limits(min_cosine=0.99, max_difference=0.1, max_order_gap=0.05),
}


@dataclass(frozen=True)
class Parity:
    """ONNX Runtime on one file against torch.

    Attributes:
        precision: of the file.
        images: number of real images compared.
        batches: the batch sizes at which all of them were embedded.
        min_cosine: smallest cosine of an image's two embeddings, over all batch sizes.
        mean_cosine: their mean.
        max_difference: largest difference of a component of an embedding or a rationale.
        top1_agreement: share of images with the same nearest neighbour.
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
        """The measured values with the limits that are enforced."""
        limits = LIMITS.get(self.precision)
        return asdict(self) | {"limits": asdict(limits) if limits else {}}

    def sentence(self) -> str:
        """The measured values in one line."""
        return (
            f"cosine >= {self.min_cosine:.7f}, same nearest neighbour {self.top1_agreement:.1%}, "
            f"top-10 overlap {self.top10_agreement:.1%}"
        )

    def enforce(self) -> None:
        """Refuses a graph that does not agree with torch.

        Raises:
            IntegrityError: a limit is exceeded.
        """
        limits = LIMITS.get(self.precision)
        if limits is None:
            return
        for name, is_within in (
            ("min_cosine", self.min_cosine >= limits.min_cosine),
            ("max_difference", self.max_difference <= limits.max_difference),
            ("max_order_gap", self.max_order_gap <= limits.max_order_gap),
        ):
            if not is_within:
                skip = "" if self.precision == "fp32" else "leave it out of --precision, "
                raise IntegrityError(
                    f"the exported {self.precision} graph does not agree with torch: {name} is "
                    f"{getattr(self, name):.6g}, the limit is {getattr(limits, name):g}, so no "
                    "bundle was written",
                    skip + REMEDY,
                )


class Graph(Protocol):
    """Runs an exported file."""

    def run(self, pixels: Pixels) -> tuple[Vectors, Vectors]:
        """(B, size, size, 3) uint8 -> embeddings (B, D) and rationales (B, h, w)."""
        ...


def measure_parity(
    model: PixelEncoder,
    embedder: Graph,
    pixels: Pixels,
    served_pixels: Pixels | None = None,
    precision: str = "fp32",
) -> Parity:
    """Compares torch and ONNX Runtime on N >= 1 images, at every batch size.

    Args:
        model: run by torch.
        embedder: run by ONNX Runtime.
        pixels: (N, size, size, 3) uint8, by the preprocessing of the training.
        served_pixels: the same images by the preprocessing that the bundle states; `pixels` if
            None.
        precision: of the file.

    Raises:
        IntegrityError: the file does not run at a batch size, or its outputs have other shapes.
    """
    expected, expected_maps = _torch_outputs(model, pixels)
    cosines, neighbours, differences = [], [], list[float]()
    for batch in BATCHES:
        actual, maps = _in_batches(
            embedder, pixels if served_pixels is None else served_pixels, batch
        )
        if (actual.shape, maps.shape) != (expected.shape, expected_maps.shape):
            raise IntegrityError(
                f"the exported graph gives {actual.shape} and {maps.shape} where torch gives "
                f"{expected.shape} and {expected_maps.shape}, so no bundle was written",
                REMEDY,
            )
        cosines.append((expected * actual).sum(axis=1))
        neighbours.append(compare_neighbours(expected, actual))
        differences += [_max_difference(expected, actual), _max_difference(expected_maps, maps)]
    top1, top10, gaps = zip(*neighbours, strict=True)
    return Parity(
        precision=precision,
        images=len(pixels),
        batches=BATCHES,
        min_cosine=float(np.min(cosines)),
        mean_cosine=float(np.mean(cosines)),
        max_difference=max(differences),
        top1_agreement=min(top1),
        top10_agreement=min(top10),
        max_order_gap=max(gaps),
    )


def parity_images(images: Path, spec: Preprocessing, count: int = PARITY_IMAGES) -> Pixels:
    """Up to `count` readable images spread over a folder, (N, size, size, 3) uint8.

    Raises:
        NotFoundError: the folder is missing, or none can be read.
    """
    paths = scan(images, may_be_empty=True).paths or find_images(images, include_clutter=True)[0]
    sample = [paths[i] for i in evenly_spaced(len(paths), count)]
    batches = list(ImageBatches(sample, spec, threads=core_count()))
    if not batches:
        raise NotFoundError(
            f"none of {len(sample)} images of {images} can be read, and parity needs real ones",
            "give a folder of readable ones by --images",
        )
    return np.concatenate([pixels for _, pixels in batches])


def compare_neighbours(expected: Vectors, actual: Vectors) -> tuple[float, float, float]:
    """Top-1 agreement, top-10 overlap, and the largest score gap of a pair out of order.

    Args:
        expected: (N, D) unit vectors.
        actual: (N, D) unit vectors of the same images.

    Example:
        >>> import numpy as np
        >>> vectors = np.eye(3)[[0, 1, 1]]
        >>> compare_neighbours(vectors, vectors)
        (1.0, 1.0, 0.0)
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


def _max_difference(expected: Vectors, actual: Vectors) -> float:
    return float(np.abs(expected - actual).max())


@torch.inference_mode()
def _torch_outputs(model: PixelEncoder, pixels: Pixels) -> tuple[Vectors, Vectors]:
    parts = [model(torch.from_numpy(pixels[i : i + 32])) for i in range(0, len(pixels), 32)]
    vectors, maps = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return vectors, maps


def _in_batches(embedder: Graph, pixels: Pixels, batch: int) -> tuple[Vectors, Vectors]:
    try:
        parts = [embedder.run(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
    except Exception as error:  # ONNX Runtime raises a class for each kind of failure
        raise IntegrityError(
            f"the exported graph does not run on a batch of {batch}, so no bundle was written: "
            f"{error}",
            REMEDY,
        ) from None
    vectors, maps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return vectors, maps
