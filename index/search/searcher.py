"""Searches an index: a query image in, its nearest neighbours out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from fgembed.bundle import Bundle
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import read_image
from fgembed.images.skipped import Skipped
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.model_binding import check_model, find_bundle
from fgembed.index.search.hits import QUERIES_AT_ONCE, Hit, hits_of, with_items
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.ordering import pair_scores
from fgembed.progress import ReportCount, silent

if TYPE_CHECKING:
    from fgembed.index.search.open_index import IndexedVectors
    from fgembed.index.search.reranking import Gallery, Reranking


class Searcher:
    """An open index with the model that made it: finds the nearest images of a query.

    It shows the index as it was when it was opened. Changes made since, by this or another
    process, show in a Searcher that is opened after them.

    Attributes:
        manifest: what the index holds and how it is searched.
        bundle: the exported model that embeds the queries.
        vectors: the index's vectors and items.
        embedder: runs the model.
        device: where the model was asked to run.

    Example:
        from fgembed.index import Searcher

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
        """Takes the parts as they are; `Searcher.open` checks them and puts them together."""
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
        """Opens an index folder and its model, and checks both.

        Every file is read and compared with its checksum; a large one only if it has changed
        since this was last done.

        Args:
            index: the index folder.
            bundle: folder of the exported model; None takes it from where it was when the index
                was built.
            device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
            precision: of the model that embeds the queries: `fp32`, `fp16` or `int8`; None takes
                that of the index.

        Raises:
            NotFoundError: there is no index or no bundle at its path.
            IntegrityError: one of them is damaged, or another model made the index.
            ConfigError: ONNX Runtime knows no such provider.
            DeviceError: the model does not run on the device.
            FgembedError: the index was built from vectors without a model.

        Example:
            searcher = Searcher.open("gallery.index", device="cpu")
            print(searcher.manifest.count, "images of", searcher.manifest.dimensions, "dimensions")
        """
        folder = Path(index)
        opened = find_bundle(folder, Manifest.read(folder), bundle, precision)
        with ThreadPoolExecutor(1) as pool:  # see the head of fgembed.cli.main
            embedder = pool.submit(_checked_embedder, opened, device)
            vectors = open_vectors(folder)
        check_model(folder, vectors.manifest, opened)
        return cls(vectors.manifest, opened, vectors, embedder.result(), device)

    def search(
        self,
        query: Path | str,
        k: int = 10,
        rerank: "Reranking | None" = None,
        where: str | None = None,
    ) -> list[Hit]:
        """The k images nearest to a query image, nearest first.

        Args:
            query: an image file, in the index or not.
            k: number of hits, at least 1. There are fewer if fewer items qualify.
            rerank: a method of `fgembed.index.search.reranking` that orders the hits again; the
                scores stay cosines.
            where: an SQL condition on the items, such as `label = 'kiwi' and year > 2020`;
                `Searcher.manifest.columns` lists the metadata columns.

        Returns:
            At most k hits. `Hit.score` is the cosine of the two embeddings, in [-1, 1].

        Raises:
            ImageError: the query cannot be read as an image.
            FgembedError: k is below 1, or the condition is not valid.

        Example:
            hits = searcher.search("query.jpg", k=3, where="label = 'kiwi'")
            print([(round(hit.score, 3), hit.path.name, hit.metadata) for hit in hits])
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
        """The k images nearest to each query vector, nearest first, equal scores by rising id.

        Args:
            queries: (Q, D) floats of unit length, embedded by the model of the index; D is
                `Searcher.manifest.dimensions`. The length is not checked, and scores are cosines
                for unit vectors alone.
            k: number of hits for each query, at least 1.
            rerank: as for `search`.
            where: as for `search`.

        Returns:
            Q lists of at most k hits, in the order of the queries.

        Raises:
            FgembedError: k is below 1, the condition is not valid, or the vectors have another D.

        Example:
            queries = searcher.vectors.reconstruct(np.array([7, 42]))  # (2, D), by item id
            for hits in searcher.search_vectors(queries, k=5):
                print([hit.id for hit in hits])
        """
        if k < 1:
            raise FgembedError(f"k is {k}, expected at least 1", "raise k")
        k = min(k, max(1, self.manifest.count))
        if rerank is None:
            return hits_of(self.vectors, queries, k, where)
        from fgembed.index.search.reranking import FilteredGallery  # not for a plain search

        gallery = FilteredGallery(self.vectors, where)
        neighbours = [self._reranked(query, gallery, k, rerank) for query in queries]
        return with_items(self.vectors, neighbours)

    def search_many(
        self,
        images: Sequence[Path | str],
        k: int = 10,
        where: str | None = None,
        report: ReportCount = silent,
    ) -> tuple[list[tuple[Path, list[Hit]]], list[Skipped]]:
        """The k images nearest to each of many query images; faster than `search` for each.

        On a CPU every core decodes and embeds its own images; 1,000 queries are searched at once.

        Args:
            images: image files.
            k: number of hits for each image, at least 1.
            where: as for `search`.
            report: receives how many images are embedded, and of how many.

        Returns:
            Each image that can be read with its hits, in the order given; and the images that
            cannot be read, each with a reason.

        Raises:
            FgembedError: `images` is a single path, k is below 1, or the condition is not valid.

        Example:
            results, skipped = searcher.search_many(["a.jpg", "b.jpg"], k=5)
            for image, hits in results:
                print(image, [hit.path for hit in hits])
        """
        if isinstance(images, str | Path):
            raise FgembedError(
                f"images is {str(images)!r}, expected a list of paths", "put the path in a list"
            )
        paths = [Path(image) for image in images]
        rows = OnnxEmbedder.of(self.bundle, self.device, bulk=True).embed(paths, report)
        hits: list[list[Hit]] = []
        for start in range(0, len(rows.positions), QUERIES_AT_ONCE):
            batch = rows.vectors[start : start + QUERIES_AT_ONCE]
            hits += self.search_vectors(batch, k, where=where)
        readable = [paths[row] for row in rows.positions]
        return list(zip(readable, hits, strict=True)), rows.skipped

    def rationales(self, images: Sequence[Pixels]) -> Vectors:
        """Where the encoder looks: a heat map for each image, (B, h, w) in [0, 1].

        Args:
            images: B arrays (size, size, 3) uint8, fitted with `fit_to_size` to the encoder.
        """
        return self.embedder.run(np.stack(images))[1]

    def _reranked(
        self, query: Vectors, gallery: "Gallery", k: int, rerank: "Reranking"
    ) -> tuple[Vectors, Ids]:
        """Cosines and ids, (k,) each, of the neighbours of a unit vector (D,), re-ranked."""
        if gallery.search(query[None], 1)[1][0, 0] < 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        ids = rerank(query, gallery, k)
        hits = np.arange(len(ids))[None]
        return pair_scores(self.vectors.reconstruct(ids), query[None], hits)[0], ids


def _checked_embedder(bundle: Bundle, device: str) -> OnnxEmbedder:
    bundle.check()
    return OnnxEmbedder.of(bundle, device)
