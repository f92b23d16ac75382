"""`fgembed dataset`."""

from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command()
def dataset(
    name: Annotated[str, typer.Argument(help="cub, cars, aircraft or dogs.")],
    downloads: Annotated[
        Path, typer.Argument(help="Folder of the official archives, or of what they hold.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, new or empty; default: the name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a downloaded data set of the papers into train and test class folders.

    Takes the official split and checks its counts. Boxes and parts go into metadata.csv and
    parts.csv beside the folders. Downloads nothing. The lists of cars and dogs need scipy, which
    the extra "datasets" installs.

    Example: fgembed dataset cub ~/Downloads --out cub
    """
    from fgembed.datasets.layouts import LAYOUTS, names_of
    from fgembed.datasets.writing import write_dataset
    from fgembed.errors import ConfigError

    if name not in LAYOUTS:
        raise ConfigError(f"no data set {name!r}", f"give {names_of(LAYOUTS)}")
    from fgembed.cli.progress import print_stage

    written = write_dataset(name, downloads, out or Path(name), print_stage)
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(written) | {"folder": str(written.folder)}))
        return
    from fgembed.text import showable

    folder = showable(str(written.folder))
    print(
        f"{folder}: {written.train:,} training and {written.test:,} test images of "
        f"{written.classes:,} classes, {written.boxes:,} with a box"
    )
    print(
        f'next: "fgembed train --images {folder}/train --set eval.gallery={folder}/train '
        f'--set eval.queries={folder}/test"'
    )
