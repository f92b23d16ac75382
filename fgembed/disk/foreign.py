"""Folders that hold something else are not written over."""

from collections.abc import Mapping
from pathlib import Path

from fgembed.disk.files import read_json
from fgembed.errors import FgembedError, IntegrityError


def refuse_foreign(
    target: Path,
    allowed_names: tuple[str, ...],
    kind: str,
    marker: tuple[str, str] | None = None,
    inside: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Refuses to write over a folder that holds anything but our own files.

    Args:
        target: the folder; it need not exist.
        allowed_names: patterns of the entries that it may hold.
        kind: what it would become, for the message.
        marker: a JSON file that identifies the folder, and the `model_type` that ours has. A file
            that is not JSON counts as ours, so that a damaged folder can be made again.
        inside: patterns of what the folders among the entries may hold, by a pattern of theirs.

    Raises:
        FgembedError: `target` is a file, or holds an entry that is not ours.
    """
    if target.is_dir():
        foreign = [p.name for p in target.iterdir() if not _matches(p, allowed_names)]
        for pattern, names in (inside or {}).items():
            entries = [entry for entry in target.glob(f"{pattern}/*") if not _matches(entry, names)]
            foreign += [str(entry.relative_to(target)) for entry in entries]
        if not foreign and marker is not None and _is_foreign(target / marker[0], marker[1]):
            foreign = [marker[0]]
        if foreign:
            raise FgembedError(
                f"{target} holds {min(foreign)!r}, which is no part of {kind}",
                "choose another folder",
            )
    elif target.exists():
        raise FgembedError(
            f"{target} is a file, expected a folder for {kind}", "choose another path"
        )


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(path.match(pattern) for pattern in patterns)


def _is_foreign(marker_file: Path, model_type: str) -> bool:
    try:
        return read_json(marker_file, "marker file").get("model_type") != model_type
    except (IntegrityError, FileNotFoundError):
        return False
