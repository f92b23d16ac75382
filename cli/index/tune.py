"""`fgembed index tune`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.index.options import IndexOption, check_recall, described, facts
from fgembed.cli.options import JsonOption
from fgembed.workspace import INDEX

NAMES = ("nprobe", "efSearch", "k_factor")


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
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.retune import retune
    from fgembed.index.tools.tuning_plot import check_plot
    from fgembed.index.tools.tuning_plot import plot as draw

    check_recall(recall)
    if plot is not None:
        check_plot(plot)
    given = ImportedEmbeddings.of_file(queries).parts()[0].vectors() if queries else None
    found = retune(index, recall, given)
    if plot is not None:
        draw(plot, found)
    if as_json:
        tried = [
            {
                "segment": segment.name,
                "recall@10": point.recall_at_10,
                "query_ms": point.batch_query_ms,
            }
            | {"parameters": point.parameters}
            for segment, tuned in found.tuned
            for point in tuned.points
        ]
        print(json.dumps({"index": str(index)} | facts(found.manifest) | {"tried": tried}))
        return
    rows = [
        [segment.name, *(str(point.parameters.get(name, "")) for name in NAMES),
         f"{point.recall_at_10:.3f}", f"{point.batch_query_ms:.3f}",
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
