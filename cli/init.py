"""`fgembed init`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def init(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs, searched recursively.")],
) -> None:
    """Write a short commented fgembed.toml for a folder of photographs.

    Example: fgembed init photos/
    """
    from fgembed.images.finding import find_images
    from fgembed.images.skipped import check_bad
    from fgembed.text import showable
    from fgembed.workspace import write_template

    paths, skipped = find_images(photos)
    check_bad(skipped, len(paths) + len(skipped), max_bad=1)
    file = write_template(Path(), photos)
    print(showable(f"{file}: {len(paths)} images in {photos}"))
    for bad in skipped:
        print(showable(f"cannot read {bad.path}: {bad.reason}"))
    print('next: "fgembed train"')
