"""Folders of small files for the tests that look for images, and what was found in them."""

import io
from pathlib import Path

from PIL import Image

from fgembed.images.walk import Scan


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(stream, "PNG")
    return stream.getvalue()


def fill(root: Path, *names: str, content: bytes | None = None) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png() if content is None else content)


def names(found: Scan, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def left_out(found: Scan, root: Path) -> dict[str, str]:
    assert not any(bad.is_bad for bad in found.skipped)
    return {bad.path.relative_to(root).as_posix(): bad.reason for bad in found.skipped}
