"""`fgembed index export`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.index.options import IndexOption
from fgembed.cli.options import JsonOption
from fgembed.errors import ConfigError
from fgembed.workspace import INDEX


class Form(StrEnum):
    """File format of an exported index."""

    faiss = "faiss"
    hdf5 = "hdf5"


def export(
    out: Annotated[Path, typer.Argument(help="A new folder, or a .hdf5 or .h5 file.")],
    index: IndexOption = INDEX,
    form: Annotated[
        Form | None, typer.Option("--as", help="The format; by default chosen by the name of OUT.")
    ] = None,
    queries: Annotated[
        int,
        typer.Option(min=1, help="Test queries of the .hdf5 file, at most half of all vectors."),
    ] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export an index for other tools.

    A folder gets knn.index, which plain FAISS reads, index_infos.json, metadata/*.parquet and
    img_emb/*.npy, row by row, with the names of autofaiss and clip-retrieval. A .hdf5 file is a
    data set for ann-benchmarks. Needs the extra "scale".

    Example: fgembed index export plain/

    Example: fgembed index export gallery.hdf5
    """
    from fgembed.index.tools.faiss_export import INDEX_FILE, export_faiss
    from fgembed.index.tools.hdf5_export import export_hdf5
    from fgembed.text import showable

    form = form or (Form.hdf5 if out.suffix in (".hdf5", ".h5") else Form.faiss)
    if form is Form.hdf5:
        count = export_hdf5(index, out, queries, overwrite)
        numbers = {"queries": count}
        line = f"{out}: {count} queries with their neighbours among the other vectors"
    else:
        if out.suffix in (".index", ".faiss"):
            raise ConfigError(
                f"{out} is the name of a file, expected a folder",
                f"give a folder; {INDEX_FILE} will lie in it",
            )
        manifest = export_faiss(index, out, overwrite)
        numbers = {"count": manifest.count}
        line = f"{out}: {INDEX_FILE} of {manifest.count} vectors, with metadata and embeddings"
    print(json.dumps({"out": str(out)} | numbers) if as_json else showable(line))
