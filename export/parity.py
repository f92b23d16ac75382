"""Does the exported file give what torch gives, and the same neighbours, on real pictures?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fgembed.encoder import PixelEncoder
from fgembed.errors import IntegrityError
from fgembed.images import Pixels
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.metrics import Vectors

BATCHES = (1, 2, 7, 32)
MIN_COSINE = 0.9999
MAX_DIFFERENCE = 1e-3  # of an embedding's or a rationale's components
ORDER_TOLERANCE = 1e-4  # neighbours nearer to each other than this may change places


@dataclass(frozen=True)
class Parity:
    """ONNX Runtime against torch.

    Attributes:
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

    images: int
    batches: tuple[int, ...]
    min_cosine: float
    mean_cosine: float
    max_difference: float
    top1_agreement: float
    top10_agreement: float
    max_order_gap: float

    def to_json(self) -> dict[str, Any]:
        """The content of `parity.json`, with the limits that were enforced."""
        limits = {
            "min_cosine": MIN_COSINE,
            "max_difference": MAX_DIFFERENCE,
            "max_order_gap": ORDER_TOLERANCE,
        }
        return asdict(self) | {"limits": limits}

    def enforce(self) -> None:
        """Refuses a graph that is not torch's.

        Raises:
            IntegrityError: a limit is broken.
        """
        for name, broken in (
            ("min_cosine", not self.min_cosine >= MIN_COSINE),
            ("max_difference", not self.max_difference <= MAX_DIFFERENCE),
            ("max_order_gap", not self.max_order_gap <= ORDER_TOLERANCE),
        ):
            if broken:
                limit = self.to_json()["limits"][name]
                raise IntegrityError(
                    f"the exported graph does not agree with torch: {name} is "
                    f"{getattr(self, name):.6g}, the limit is {limit:g}; no bundle was written"
                )


def measure_parity(
    model: PixelEncoder, embedder: OnnxEmbedder, pixels: Pixels, given: Pixels | None = None
) -> Parity:
    """Compares the two on (N, size, size, 3) uint8 pictures, N >= 1, at every batch size.

    Args:
        model: torch's.
        embedder: ONNX Runtime's.
        pixels: the pictures as the model was trained to see them.
        given: the same as who uses the file will read them; `pixels` if None.

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
                f"{expected.shape} and {expected_maps.shape}; no bundle was written"
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
        len(pixels),
        BATCHES,
        float(np.min(cosines)),
        float(np.mean(cosines)),
        difference,
        min(top1),
        min(top10),
        max(gaps),
    )


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


def _in_batches(embedder: OnnxEmbedder, pixels: Pixels, batch: int) -> tuple[Vectors, Vectors]:
    try:
        parts = [embedder.run(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
    except Exception as error:  # a class of ONNX Runtime's own for each kind of failure
        raise IntegrityError(
            f"the exported graph does not run on a batch of {batch}: {error}; no bundle was written"
        ) from None
    vectors, maps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return vectors, maps
