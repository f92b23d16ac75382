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
    from fgembed.cli.left_out import print_left_out
    from fgembed.images.finding import scan
    from fgembed.images.skipped import check_bad
    from fgembed.text import showable
    from fgembed.workspace import write_template

    images = scan(photos)
    check_bad(images.skipped, len(images.paths) + len(images.skipped), max_bad=1)
    file = write_template(Path(), photos)
    print(showable(f"{file}: {len(images.paths)} images in {photos}"))
    remedy = f"include_clutter = true in {file}"
    print_left_out(images.skipped, images.passed_over, remedy=remedy)
    print('next: "fgembed train"')
