"""Compares listed image files with the images of an index, by content where that is in doubt.

A file whose size and times are those of its entry is taken for unchanged. Any other file whose size
fits an entry is read: if its SHA-256 is that of an entry whose own file is gone or has become
another, the image was moved, and the entry takes the new path.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fgembed.cores import core_count
from fgembed.disk.file_state import FileState, is_gone, state_or_none
from fgembed.disk.files import sha256
from fgembed.images.batches import prefetch
from fgembed.index.library.distinct_images import same_file
from fgembed.index.library.indexed_images import IndexedImage
from fgembed.index.library.matching import by_longest_tail
from fgembed.progress import ReportStep

WINDOW = 64  # files that are read ahead of the comparison


@dataclass(frozen=True)
class Move:
    """An indexed image whose file is now at another path."""

    image: IndexedImage
    path: Path
    state: FileState


@dataclass
class Comparison:
    """How the rows of a listing stand to an index.

    Attributes:
        unchanged: rows whose content the index has under this path or another one of the file.
        proved: by the id of an unchanged image, the state in which its content was read just now.
        moves: images that are known again.
        superseded: ids whose path now has the content of a moved image.
        new: rows that are not in the index.
        changed: rows whose path is in the index with other content, or cannot be read.
    """

    unchanged: list[int] = field(default_factory=list)
    proved: dict[int, FileState] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)


def compare(
    paths: Sequence[Path],
    states: Sequence[FileState | None],
    indexed: dict[str, list[IndexedImage]],
    *,
    checksums: bool,
    report: ReportStep,
) -> Comparison:
    """Compares the files of a listing with the images of an index.

    Args:
        paths: distinct absolute paths.
        states: of their files.
        indexed: the images of the index by path.
        checksums: read every file, also where size and times are unchanged.
        report: receives the stage, how many files are read, and of how many.
    """
    done = Comparison()
    to_prove: list[int] = []
    for row, (path, state) in enumerate(zip(paths, states, strict=True)):
        images = indexed.get(str(path), [])
        if not images:
            done.new.append(row)
        elif state is None or any(image.size != state.size for image in images):
            done.changed.append(row)
        elif checksums or not all(image.looks_unchanged(state) for image in images):
            to_prove.append(row)
        else:
            done.unchanged.append(row)
    sums = _checksums(paths, to_prove, report)
    for row in to_prove:
        images, state = indexed[str(paths[row])], states[row]
        if state is not None and all(image.sha256 == sums[row] for image in images):
            done.unchanged.append(row)
            done.proved |= {image.id: state for image in images}
        else:
            done.changed.append(row)
    _find_moves(done, paths, states, indexed, sums, report)
    return done


def _checksums(
    paths: Sequence[Path], rows: Sequence[int], report: ReportStep
) -> dict[int, str | None]:
    """The SHA-256 of the files of these rows; None for one that cannot be read."""
    sums: dict[int, str | None] = {}
    files = (paths[row] for row in rows)
    for row, checksum in zip(rows, prefetch(_sha256, files, core_count(), WINDOW), strict=True):
        sums[row] = checksum
        report("comparing", len(sums), len(rows))
    return sums


def _sha256(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None  # embedding reports the reason


def _find_moves(
    done: Comparison,
    paths: Sequence[Path],
    states: Sequence[FileState | None],
    indexed: dict[str, list[IndexedImage]],
    sums: dict[int, str | None],
    report: ReportStep,
) -> None:
    """Takes the rows out of `new` and `changed` whose content the index has from another path."""
    unplaced = [row for row in (*done.new, *done.changed) if states[row] is not None]
    if not unplaced:
        return
    images = [image for same_path in indexed.values() for image in same_path if image.sha256]
    sizes = {image.size for image in images}
    fitting = [row for row in unplaced if (s := states[row]) is not None and s.size in sizes]
    sums = sums | _checksums(paths, [row for row in fitting if row not in sums], report)
    rows_of: dict[str, list[int]] = {}
    for row in fitting:
        if (checksum := sums[row]) is not None:
            rows_of.setdefault(checksum, []).append(row)
    images_of: dict[str, list[IndexedImage]] = {}
    for image in images:
        if image.sha256 in rows_of:
            images_of.setdefault(image.sha256, []).append(image)
    unread = {row for row, checksum in sums.items() if checksum is None}
    changed = {str(paths[r]) for r in done.changed if states[r] is not None and r not in unread}
    taken: set[int] = set()
    for checksum, same_content in images_of.items():
        rows = rows_of[checksum]
        reached = _reached_otherwise(rows, paths, states, same_content, changed)
        done.unchanged += reached
        free = {image.path: image for image in reversed(same_content) if _is_free(image, changed)}
        rest = [row for row in rows if row not in reached]
        pairs = by_longest_tail(sorted(free), [str(paths[row]) for row in rest])
        row_at = {str(paths[row]): row for row in rest}
        for old, new in pairs:
            row, state = row_at[new], states[row_at[new]]
            assert state is not None
            done.moves.append(Move(free[old], paths[row], state))
            taken.add(row)
            twins = (image.id for image in same_content if image.path == old)
            done.superseded += [twin for twin in twins if twin != free[old].id]
        taken.update(reached)
    _settle(done, paths, indexed, taken)


def _settle(
    done: Comparison, paths: Sequence[Path], indexed: dict[str, list[IndexedImage]], taken: set[int]
) -> None:
    """Removes the rows that are done with; an entry loses its path to one that moved there."""
    moved = {move.image.id for move in done.moves}
    for row in done.changed:
        if row in taken:
            images = indexed[str(paths[row])]
            done.superseded += [image.id for image in images if image.id not in moved]
    done.new = [row for row in done.new if row not in taken]
    done.changed = [row for row in done.changed if row not in taken]


def _reached_otherwise(
    rows: Sequence[int],
    paths: Sequence[Path],
    states: Sequence[FileState | None],
    images: Iterable[IndexedImage],
    changed: set[str],
) -> list[int]:
    """The rows whose file is that of an entry, which is named by another path."""
    identities: dict[tuple[int, int], list[IndexedImage]] = {}
    for image in images:
        state = None if image.path in changed else state_or_none(image.path)
        if state is not None and state.inode:
            identities.setdefault(state.identity, []).append(image)
    reached = []
    for row in rows:
        state = states[row]
        if state is not None and str(paths[row]) not in changed:
            others = identities.get(state.identity, [])
            if any(same_file(Path(other.path), paths[row], state) for other in others):
                reached.append(row)
    return reached


def _is_free(image: IndexedImage, changed: set[str]) -> bool:
    """Whether the file of an entry is gone, or holds something else now."""
    try:
        return image.path in changed or is_gone(image.path)
    except OSError:
        return False
