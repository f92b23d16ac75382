"""Cards for a search result: the query and its hits with their rationale heat maps."""

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

SHOWN_SIDE = 400


@dataclass(frozen=True)
class Explained:
    """A row of cards and, in the order of its hit cards, the hits they show."""

    row: ResultRow
    hits: list[Hit]

    def peaks(self) -> dict[int, tuple[float, float]]:
        """For each hit's id where its rationale is highest, as shares of width and height."""
        maps = [card.heat for card in self.row.hits]
        return {h.id: peak(m) for h, m in zip(self.hits, maps, strict=True) if m is not None}


def explain(searcher: Searcher, query: Path, hits: Sequence[Hit]) -> Explained:
    """The query and those of its hits whose pictures can still be read, with heat maps.

    Raises:
        ImageError: the query cannot be read.
    """
    pictures = [load_rgb(query, at_least=2 * SHOWN_SIDE)]
    readable = []
    for hit in hits:
        try:
            pictures.append(load_rgb(hit.path, at_least=2 * SHOWN_SIDE))
        except ImageError:
            continue  # moved or damaged since it was indexed; the table still names it
        readable.append(hit)
    spec = searcher.embedder.spec
    maps = [searcher.rationales([fit_to_size(picture, spec)])[0] for picture in pictures]
    shown = [as_seen(picture, spec) for picture in pictures]
    heats = [np.clip(one, 0, 1) for one in maps]
    roots = sorted(map(Path, searcher.manifest.roots), key=lambda root: -len(root.parts))
    cards = [
        Card(hit.path.name, image, heat, hit.score, _class_of(hit.path, roots))
        for hit, image, heat in zip(readable, shown[1:], heats[1:], strict=True)
    ]
    asked = Card(query.name, shown[0], heats[0], None, _likely_class(query, roots))
    return Explained(ResultRow(asked, cards), readable)


def _class_of(path: Path, roots: Sequence[Path]) -> str:
    """The first folder below the indexed root, or nothing for a flat folder."""
    for root in roots:
        if path.is_relative_to(root):
            folders = path.relative_to(root).parts[:-1]
            return folders[0] if folders else ""
    return ""


def _likely_class(query: Path, roots: Sequence[Path]) -> str:
    """The query's folder name if the indexed root has a class folder of that name."""
    name = query.absolute().parent.name
    return name if any((root / name).is_dir() for root in roots) else ""


def as_seen(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """The part of the picture that the encoder sees, so that a heat map fits over it."""
    if spec.fit == "squash":
        return image
    return Image.fromarray(fit_to_size(image, replace(spec, size=SHOWN_SIDE)))


def peak(heat: np.ndarray) -> tuple[float, float]:
    """Where a map (h, w) is highest: x and y as shares of width and height."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return (float(column) + 0.5) / heat.shape[1], (float(row) + 0.5) / heat.shape[0]
