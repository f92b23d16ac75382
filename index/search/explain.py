"""Explains a search: cards of the query and its hits, with rationale heat maps."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from fgembed.errors import ImageError
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing, fit_to_size
from fgembed.index.search.hits import Hit
from fgembed.index.search.searcher import Searcher
from fgembed.pages.cards import Card, ResultRow
from fgembed.text import label

SHOWN_SIDE = 400


@dataclass(frozen=True)
class Explained:
    """The cards of a search.

    Attributes:
        row: the query's card and the hits' cards.
        hits: the hits that the cards show, in their order.
    """

    row: ResultRow
    hits: list[Hit]

    def peaks(self) -> dict[int, tuple[float, float]]:
        """By hit id: x and y of the rationale's maximum, as shares of width and height."""
        maps = [card.heat for card in self.row.hits]
        return {h.id: peak(m) for h, m in zip(self.hits, maps, strict=True) if m is not None}


def explain(searcher: Searcher, query: Path, hits: Sequence[Hit]) -> Explained:
    """Makes the cards of a query and its hits. A hit whose image cannot be read has no card.

    Args:
        searcher: computes the rationales; the hits' images are read and embedded again.
        query: the image that was searched with.
        hits: what the search returned.

    Raises:
        ImageError: the query cannot be read.
    """
    images = [load_rgb(query, at_least=2 * SHOWN_SIDE)]
    readable = []
    for hit in hits:
        try:
            images.append(load_rgb(hit.path, at_least=2 * SHOWN_SIDE))
        except ImageError:
            continue  # moved or damaged since; the printed table still names it
        readable.append(hit)
    spec = searcher.embedder.spec
    rationales = [searcher.rationales([fit_to_size(image, spec)])[0] for image in images]
    shown = [as_seen(image, spec) for image in images]
    heats = [np.clip(rationale, 0, 1) for rationale in rationales]
    roots = sorted(map(Path, searcher.manifest.roots), key=lambda root: -len(root.parts))
    cards = [
        Card(
            title=hit.path.name,
            image=image,
            heat=heat,
            score=hit.score,
            caption=_class_of(hit.path, roots),
        )
        for hit, image, heat in zip(readable, shown[1:], heats[1:], strict=True)
    ]
    query_card = Card(
        title=query.name, image=shown[0], heat=heats[0], caption=_likely_class(query, roots)
    )
    return Explained(ResultRow(query_card, cards), readable)


def _class_of(path: Path, roots: Sequence[Path]) -> str:
    """The first folder below the indexed root; empty for an image right in it."""
    for root in roots:
        if path.is_relative_to(root):
            folders = path.relative_to(root).parts[:-1]
            return label(folders[0]) if folders else ""
    return ""


def _likely_class(query: Path, roots: Sequence[Path]) -> str:
    """The query's folder name if a root has a class folder of that name; else empty."""
    name = query.absolute().parent.name
    forms = {name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))}
    is_class = any((root / form).is_dir() for root in roots for form in forms)
    return label(name) if is_class else ""


def as_seen(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """The part of an image that the encoder sees, so that its heat map fits over it."""
    if spec.fit == "squash":
        return image
    return Image.fromarray(fit_to_size(image, replace(spec, size=SHOWN_SIDE)))


def peak(heat: np.ndarray) -> tuple[float, float]:
    """The centre of the highest cell of a map (h, w): x and y as shares of width and height.

    Example:
        >>> peak(np.array([[0.0, 0.1], [0.9, 0.2]]))
        (0.25, 0.75)
    """
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return (float(column) + 0.5) / heat.shape[1], (float(row) + 0.5) / heat.shape[0]
