"""`fgembed backbones`."""

from typing import Annotated

import typer

from fgembed.cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command()
def backbones(
    pattern: Annotated[
        str | None, typer.Argument(help="Part of the name, or a pattern with * and ?.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the images in pixels.")] = 224,
    limit: Annotated[int, typer.Option(min=0, help="The most to build and measure.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the available backbones and their feature maps.

    Shows parameters in millions, channels, size and stride of the feature map, whether attention
    can be read (vision transformers), and the normalisation that the published weights expect,
    for preprocessing.mean and preprocessing.std. Downloads nothing.

    Example: fgembed backbones vit_small
    """
    from fgembed.cli.extras import require_torch

    require_torch()
    if pattern is None:
        _print_libraries(as_json)
    else:
        _print_matching(pattern, size, limit, as_json)


def _print_libraries(as_json: bool) -> None:
    from fgembed.backbones.listing import list_libraries

    installed = list_libraries()
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps({"libraries": [asdict(library) for library in installed]}))
        return
    from fgembed.cli.tables import print_table

    rows = [
        [library.name, "not installed" if library.count is None else str(library.count)]
        for library in installed
    ]
    print_table(["library", "backbones"], rows, right={"backbones"})
    print('next: "fgembed backbones resnet" lists those with "resnet" in their name')


def _print_matching(pattern: str, size: int, limit: int, as_json: bool) -> None:
    from fgembed.backbones.listing import find_backbones, measure_backbone
    from fgembed.errors import NotFoundError

    names = find_backbones(pattern)
    if not names:
        raise NotFoundError(
            f"no backbone matches {pattern!r}", '"fgembed backbones" lists the libraries'
        )
    rows = [measure_backbone(name, size) for name in names[:limit]]
    rest = names[limit:]
    if as_json:
        import json

        measurements = [row.to_json() for row in rows]
        print(json.dumps({"size": size, "backbones": measurements, "not_measured": rest}))
        return
    from fgembed.cli.tables import print_table

    if rows:
        titles = ["backbone", "M params", "C", "map", "stride", "attention", "normalisation"]
        print_table(titles, [row.cells() for row in rows], right={"M params", "C", "map", "stride"})
    if rest:
        print("\n".join(rest))
        print(f"the last {len(rest)} of {len(names)} are not measured; raise --limit for more")
