"""`fgembed index tune` and `export`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.index_options import IndexOption, check_recall, described, facts
from fgembed.cli.options import JsonOption
from fgembed.errors import ConfigError
from fgembed.workspace import INDEX

NAMES = ("nprobe", "efSearch", "k_factor")


class Form(StrEnum):
    """What to write an index as."""

    faiss = "faiss"
    hdf5 = "hdf5"


def tune(
    index: IndexOption = INDEX,
    recall: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="The recall@10 to reach; the index's own if not given."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help=".npy of vectors (Q, D) that searches will be like.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw recall against time, .png or .svg.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find search parameters anew: the fastest that reach the recall, on held-out queries.

    Without --queries the index's own vectors are asked, each left out of its own results. Half of
    the queries choose, the other half measures what is then shown.

    Example: fgembed index tune --recall 0.99 --plot tuning.png
    """
    from fgembed.cli.tables import print_table
    from fgembed.index.given_embeddings import GivenEmbeddings
    from fgembed.index.retune import check_plot, retune
    from fgembed.index.retune import plot as draw

    check_recall(recall)
    if plot is not None:
        check_plot(plot)
    given = GivenEmbeddings.of_file(queries).parts()[0].vectors() if queries else None
    found = retune(index, recall, given)
    if plot is not None:
        draw(plot, found)
    if as_json:
        tried = [
            {"segment": segment.name, "recall@10": point.recall_at_10, "query_ms": point.query_ms}
            | {"parameters": point.parameters}
            for segment, tuned in found.tuned
            for point in tuned.points
        ]
        print(json.dumps({"index": str(index)} | facts(found.manifest) | {"tried": tried}))
        return
    rows = [
        [segment.name, *(str(point.parameters.get(name, "")) for name in NAMES),
         f"{point.recall_at_10:.3f}", f"{point.query_ms:.3f}",
         "taken" if point.parameters == tuned.parameters else ""]
        for segment, tuned in found.tuned
        for point in tuned.points
    ]  # fmt: skip
    if rows:
        columns = ["segment", *NAMES, "recall@10", "ms", ""]
        print_table(columns, rows, right={*NAMES, "recall@10", "ms"})
    else:
        print("every vector is compared, so there is nothing to tune")
    print(f"{index}: {described(found.manifest)}")


def export(
    out: Annotated[Path, typer.Argument(help="A new folder, or a .hdf5 or .h5 file.")],
    index: IndexOption = INDEX,
    form: Annotated[
        Form | None, typer.Option("--as", help="What to write; by the name of OUT if not given.")
    ] = None,
    queries: Annotated[
        int,
        typer.Option(min=1, help="Test queries of the .hdf5 file, at most half of all vectors."),
    ] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was exported before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an index for other tools.

    A folder gets knn.index, which plain FAISS reads, index_infos.json, metadata/*.parquet and
    img_emb/*.npy, row by row, with the names of autofaiss and clip-retrieval. A .hdf5 file is a
    data set for ann-benchmarks. Needs the extra "scale".

    Example: fgembed index export plain/

    Example: fgembed index export gallery.hdf5
    """
    from fgembed.index.interchange import INDEX_FILE, export_faiss, export_hdf5
    from fgembed.text import showable

    form = form or (Form.hdf5 if out.suffix in (".hdf5", ".h5") else Form.faiss)
    if form is Form.hdf5:
        count = export_hdf5(index, out, queries, overwrite)
        said = {"queries": count}
        line = f"{out}: {count} queries with their neighbours among the other vectors"
    else:
        if out.suffix in (".index", ".faiss"):
            raise ConfigError(f"{out} is to be a folder; its index will be {out / INDEX_FILE}")
        manifest = export_faiss(index, out, overwrite)
        said = {"count": manifest.count}
        line = f"{out}: {INDEX_FILE} of {manifest.count} vectors, with metadata and embeddings"
    print(json.dumps({"out": str(out)} | said) if as_json else showable(line))
