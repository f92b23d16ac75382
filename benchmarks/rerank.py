"""Does re-ranking help on your images? Every way of `search --rerank` beside plain search.

A run or a bundle embeds both folders once. Each query is then looked up in a flat index as
`fgembed search` does it, in plain order and in that of each way with its default parameters.

    python benchmarks/rerank.py bundle --gallery g/train --queries g/test

prints a Markdown table; the same folder twice is leave-one-out. Labels score, they order nothing.
"""

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgembed.bundle import CONFIG_FILE, Bundle
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.evaluation.floor_table import Score, percent
from fgembed.evaluation.metrics import PAGE, bootstrap_interval, precision_of_ranking
from fgembed.evaluation.protocol import Embed, EmbeddedSplit, Split
from fgembed.index.search.reranking import RERANKINGS, Gallery, Reranking
from fgembed.index.segments.vector_file import VectorFile

METRICS = ("recall@1", "recall@5", "precision@10", "mAP")


class FlatGallery:
    """Vectors in a flat index; the id is the row."""

    def __init__(self, vectors: Vectors) -> None:
        self.rows = VectorFile(vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Cosines and ids, (Q, k) each."""
        return self.rows.exact(queries, k)

    def reconstruct(self, ids: Ids) -> Vectors:
        """The vectors of the ids."""
        return self.rows.take(ids)


@dataclass(frozen=True)
class Without:
    """A gallery from which one image is gone, for leave-one-out."""

    gallery: Gallery
    id: int

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Cosines and ids, (Q, k) each."""
        scores, ids = self.gallery.search(queries, k + 1)
        remaining = np.argsort(ids == self.id, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, remaining, axis=1), np.take_along_axis(
            ids, remaining, axis=1
        )

    def reconstruct(self, ids: Ids) -> Vectors:
        """The vectors of the ids."""
        return self.gallery.reconstruct(ids)


def plain(query: Vectors, gallery: Gallery, k: int) -> Ids:
    """The order of the cosine."""
    ids: Ids = gallery.search(query[None], k)[1][0]
    return ids


@dataclass(frozen=True)
class Measured:
    """One way's scores, a value a query (Q,), and what a query took."""

    scores: dict[str, Vectors]
    milliseconds: float


def measure(reranking: Reranking, embedded_split: EmbeddedSplit, every: int = 1) -> Measured:
    """The scores of every query, or every n-th, over complete rankings; time for the first 10."""
    gallery = FlatGallery(embedded_split.gallery.vectors)
    queries = range(0, len(embedded_split.queries.vectors), every)
    values, seconds = [], []
    for row in queries:
        query = embedded_split.queries.vectors[row]
        searched = Without(gallery, row) if embedded_split.leave_one_out else gallery
        started = time.perf_counter()
        reranking(query, searched, 10)
        seconds.append(time.perf_counter() - started)
        ids = reranking(
            query, searched, len(embedded_split.gallery.vectors) - embedded_split.leave_one_out
        )
        relevant = embedded_split.gallery_labels[ids] == embedded_split.query_labels[row]
        precision = float(precision_of_ranking(relevant[None])[0][0])
        values.append((relevant[:1].any(), relevant[:5].any(), relevant[:PAGE].mean(), precision))
    columns = np.array(values, dtype=np.float64).T
    scores = dict(zip(METRICS, columns, strict=True))
    return Measured(scores, 1000 * float(np.median(seconds)))


def markdown(measured: dict[str, Measured]) -> str:
    """Percent with intervals; the difference to the first row is paired over queries."""
    base = next(iter(measured.values())).scores["recall@1"]
    lines = [
        f"| order | {' | '.join(METRICS)} | recall@1 beyond plain | ms a query |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in measured.items():
        cells = [percent(Score.of(result.scores[metric])) for metric in METRICS]
        gain = result.scores["recall@1"] - base
        low, high = bootstrap_interval(gain)
        cells.append(f"{100 * gain.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        lines.append(f"| {name} | {' | '.join(cells)} | {result.milliseconds:.1f} |")
    return "\n".join(lines)


def embedder(model: Path) -> Embed:
    """ONNX Runtime for a bundle, torch for a run, both on the CPU."""
    if (model / CONFIG_FILE).is_file():
        bundle = Bundle.open(model)
        return OnnxEmbedder(bundle.model, bundle.preprocessing, "cpu")
    import torch

    from fgembed.model.encoder_files import load_encoder
    from fgembed.model.torch_embedder import TorchEmbedder

    return TorchEmbedder(*load_encoder(model), torch.device("cpu"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Embeds both folders, then asks every query of every way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a run folder or a bundle")
    parser.add_argument("--gallery", type=Path, required=True, help="images in class folders")
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="ask only every n-th query")
    options = parser.parse_args(arguments)
    try:
        split = Split.find(options.gallery, options.queries)
        embedded_split = EmbeddedSplit.embed(embedder(options.model), split, max_bad=0.5)
    except FgembedError as error:
        sys.exit(f"error: {error}")
    measured = {
        name: measure(reranking, embedded_split, options.every)
        for name, reranking in {"plain": plain, **RERANKINGS}.items()
    }
    print(markdown(measured))
    query_count = len(range(0, len(embedded_split.queries.vectors), options.every))
    protocol = "leave-one-out" if split.leave_one_out else "queries against gallery"
    print(
        f"\n{protocol}: {query_count} queries, {len(embedded_split.gallery.paths)} gallery images, "
        f"{len(set(embedded_split.query_labels))} classes; percent, in brackets the bootstrap 95 % "
        f"interval over queries; {platform.machine()}, median time of a search for 10 hits, "
        "embedding not included. " + "; ".join(map(str, RERANKINGS.values())) + "."
    )


if __name__ == "__main__":
    main()
