"""Searches an index: one picture in, its nearest neighbours out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from fgembed.bundle import Bundle
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.images.decoding import Pixels
from fgembed.images.finding import Skipped
from fgembed.images.preprocessing import read_image
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.model_binding import check_model, find_bundle
from fgembed.index.search.hits import Hit, hits_of, named
from fgembed.index.search.hits_file import QUERIES_AT_ONCE
from fgembed.index.search.snapshot import open_state
from fgembed.progress import ReportCount, silent

if TYPE_CHECKING:
    from fgembed.index.search.open_index import IndexedVectors
    from fgembed.index.search.reranking import Reranking


class Searcher:
    """An open index and the model it was made with.

    Example:
        searcher = Searcher.open("gallery.index")
        for hit in searcher.search("query.jpg", k=5):
            print(hit.score, hit.path)
    """

    def __init__(
        self,
        manifest: Manifest,
        bundle: Bundle,
        vectors: "IndexedVectors",
        embedder: OnnxEmbedder,
        device: str = "auto",
    ) -> None:
        self.device = device
        self.manifest = manifest
        self.bundle = bundle
        self.vectors = vectors
        self.embedder = embedder

    @classmethod
    def open(
        cls,
        index: Path | str,
        bundle: Path | str | None = None,
        device: str = "auto",
        precision: str | None = None,
    ) -> Self:
        """Opens an index folder.

        Args:
            index: the index folder.
            bundle: the bundle it was made with, where that is no longer where it was.
            device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
            precision: of the model that embeds the query: `fp32`, `fp16` or `int8`; that of the
                indexed vectors if None.

        Raises:
            NotFoundError: there is no index or no bundle.
            IntegrityError: one of them is damaged, or the index was made with another model.
        """
        folder = Path(index)
        made_with = Manifest.read(folder)
        opened = find_bundle(folder, made_with, bundle, precision)
        with ThreadPoolExecutor(2) as pool:
            # Checksums and ONNX Runtime's session need no interpreter lock: faiss loads meanwhile.
            embedder = pool.submit(_checked_embedder, opened, device)
            loading = pool.submit(_index_class)
            manifest, vectors = open_state(folder, lambda state: loading.result()(folder, state))
        check_model(folder, manifest, opened)
        return cls(manifest, opened, vectors, embedder.result(), device)

    def search(
        self,
        query: Path | str,
        k: int = 10,
        rerank: "Reranking | None" = None,
        where: str | None = None,
    ) -> list[Hit]:
        """The k nearest pictures, nearest first; fewer where the index holds fewer.

        Args:
            query: the picture to look up.
            k: how many.
            rerank: how to order them anew, one of `fgembed.index.search.reranking`.
            where: an SQL condition on the items, such as `label = 'kiwi' and year > 2020`.

        Raises:
            ImageError: the query cannot be read.
            FgembedError: the condition cannot be asked.
        """
        pixels = read_image(Path(query), self.embedder.spec)
        vectors, _ = self.embedder.run(pixels[None])
        return self.search_vectors(vectors, k, rerank, where)[0]

    def search_vectors(
        self,
        queries: Vectors,
        k: int = 10,
        rerank: "Reranking | None" = None,
        where: str | None = None,
    ) -> list[list[Hit]]:
        """The k nearest pictures of each unit vector (Q, D), or those that `rerank` puts first.

        Raises:
            FgembedError: k is below 1, or the condition cannot be asked.
        """
        if k < 1:
            raise FgembedError(f"k is {k}", "expected at least 1")
        count = min(k, max(1, self.manifest.count))
        if rerank is None:
            return hits_of(self.vectors, queries, count, where)
        gallery = Filtered(self.vectors, where)
        rows = [self._reranked(query, gallery, count, rerank) for query in queries]
        return named(self.vectors, rows)

    def search_many(
        self,
        pictures: Sequence[Path | str],
        k: int = 10,
        where: str | None = None,
        report: ReportCount = silent,
    ) -> tuple[list[tuple[Path, list[Hit]]], list[Skipped]]:
        """Each picture that can be read with its k nearest, and those that cannot be read.

        For many queries: each core decodes and embeds its own, and all are searched at once.
        `report` takes how many are embedded, of how many.

        Raises:
            FgembedError: k is below 1, or the condition cannot be asked.
        """
        if isinstance(pictures, str | Path):
            raise FgembedError(f"pictures is {str(pictures)!r}", "expected a list of pictures")
        paths = [Path(picture) for picture in pictures]
        rows = OnnxEmbedder.of(self.bundle, self.device, bulk=True).embed(paths, report)
        found: list[list[Hit]] = []
        for start in range(0, len(rows.positions), QUERIES_AT_ONCE):
            some = rows.vectors[start : start + QUERIES_AT_ONCE]
            found += self.search_vectors(some, k, where=where)
        asked = [paths[place] for place in rows.positions]
        return list(zip(asked, found, strict=True)), rows.skipped

    def rationales(self, pictures: Sequence[Pixels]) -> Vectors:
        """Where the encoder looks, (B, h, w) in [0, 1], of uint8 pictures fitted to its size."""
        return self.embedder.run(np.stack(pictures))[1]

    def _reranked(
        self, query: Vectors, gallery: "Filtered", k: int, rerank: "Reranking"
    ) -> tuple[Vectors, Ids]:
        """Cosines and ids of a unit vector's hits, (k,) each, in the order of `rerank`."""
        if gallery.search(query[None], 1)[1][0, 0] < 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        ids = rerank(query, gallery, k)
        return self.vectors.reconstruct(ids) @ query, ids


@dataclass(frozen=True)
class Filtered:
    """The vectors for which an SQL condition holds, all of them where there is none."""

    vectors: "IndexedVectors"
    where: str | None

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Scores and ids, (Q, k) each, by falling score; id -1 where there are fewer."""
        return self.vectors.search(queries, k, self.where)

    def reconstruct(self, ids: Ids) -> Vectors:
        """The vectors (N, D) of ids (N,)."""
        return self.vectors.reconstruct(ids)


def _checked_embedder(bundle: Bundle, device: str) -> OnnxEmbedder:
    bundle.check()
    return OnnxEmbedder.of(bundle, device)


def _index_class() -> "type[IndexedVectors]":
    """Loads FAISS, in a thread beside the checksums: see the head of `fgembed.cli.main`."""
    from fgembed.index.search.open_index import IndexedVectors

    return IndexedVectors
