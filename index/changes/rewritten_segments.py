"""Gives the images that were moved their new paths, and records what was proved of the others."""

from collections.abc import Sequence
from pathlib import Path

from fgembed.index.changes.plan import AddPlan
from fgembed.index.changes.transaction import Transaction
from fgembed.index.format.manifest import Segment
from fgembed.index.library.comparison import Move
from fgembed.index.library.indexed_images import is_below
from fgembed.index.library.item_changes import ItemChange, changed_segment
from fgembed.text import composed

PROVED_FROM = 100  # files of a segment; fewer are read again by the next call at less cost


def rewritten(change: Transaction, plan: AddPlan) -> dict[str, Segment]:
    """Writes the segments whose items have other paths or states; by the name of the old one.

    Raises:
        OSError: one cannot be written, as on a full disk.
    """
    changes = {
        move.image.id: ItemChange(str(move.path), move.state, _labels(move, plan, change))
        for move in plan.comparison.moves
    }
    proved = {id_: ItemChange(state=state) for id_, state in plan.comparison.proved.items()}
    segments: dict[str, Segment] = {}
    for segment in change.vectors.segments:
        ids = set(segment.ids.tolist())
        moved = {id_: changes[id_] for id_ in changes.keys() & ids}
        read = {id_: proved[id_] for id_ in proved.keys() & ids}
        if moved or len(read) >= PROVED_FROM:
            new = changed_segment(change.folder, segment, read | moved)
            segments[segment.entry.name] = new
    return segments


def _labels(move: Move, plan: AddPlan, change: Transaction) -> tuple[str | None, str | None]:
    """The label of a moved image before and after, if it is the name of its folder."""
    if not plan.images.folder_labels:
        return None, None
    roots = sorted(change.manifest.roots, key=len, reverse=True)
    root = next((root for root in roots if is_below(move.image.path, root)), None)
    if root is None:
        return None, None
    old, new = Path(move.image.path).relative_to(root), move.path.relative_to(plan.images.root)
    if move.path.parts[-len(old.parts) :] == old.parts:
        return None, None  # the folders moved as they are, perhaps below another one
    return _first(old), _first(new)


def _first(path: Path) -> str | None:
    return composed(path.parts[0]) if len(path.parts) > 1 else None


def moved_roots(plan: AddPlan, roots: Sequence[str]) -> list[str]:
    """The roots after moves: with that of the source, without those that hold nothing now."""
    moves = {move.image.path: str(move.path) for move in plan.comparison.moves}
    if not moves:
        return list(roots)
    names = [moves.get(name, name) for name in plan.indexed]
    used = [root for root in roots if any(is_below(name, root) for name in names)]
    return list(dict.fromkeys([*used, str(plan.images.root)]))
