"""Explains a search: cards of the query and its hits, with rationale heat maps."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from fgembed.disk.file_state import state_or_none
from fgembed.errors import ImageError
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing, fit_to_size
from fgembed.index.search.hits import Hit
from fgembed.index.search.searcher import Searcher
from fgembed.pages.cards import Card, ResultRow, placeholder
from fgembed.pages.heat_maps import Heat
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
    """Makes the cards of a query and its hits; that of a hit whose file is gone says so.

    Args:
        searcher: computes the rationales; the hits' images are read and embedded again.
        query: the image that was searched with.
        hits: what the search returned.

    Raises:
        ImageError: the query cannot be read.
    """
    roots = sorted(map(Path, searcher.manifest.roots), key=lambda root: -len(root.parts))
    image, heat = _shown(searcher, query)
    query_card = Card(query.name, image, heat, caption=_likely_class(query, roots))
    cards = [_card(searcher, hit, _class_of(hit.path, roots)) for hit in hits]
    return Explained(ResultRow(query_card, cards), list(hits))


def _card(searcher: Searcher, hit: Hit, caption: str) -> Card:
    try:
        image, heat = _shown(searcher, hit.path)
    except ImageError:
        reason = unshown(hit.path)
        title = f"{hit.path.name} ({reason})"
        return Card(title, placeholder(reason), score=hit.score, caption=caption)
    return Card(hit.path.name, image, heat, hit.score, caption)


def unshown(path: Path) -> str:
    """Why an indexed image cannot be shown."""
    return "missing" if state_or_none(path) is None else "cannot be read"


def _shown(searcher: Searcher, path: Path) -> tuple[Image.Image, Heat]:
    """What the encoder sees of an image, and its heat map."""
    spec = searcher.embedder.spec
    image = load_rgb(path, 2 * SHOWN_SIDE, spec.version)
    heat = np.clip(searcher.rationales([fit_to_size(image, spec)])[0], 0, 1)
    return as_seen(image, spec), heat


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
