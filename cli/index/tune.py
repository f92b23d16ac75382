"""`fgembed index tune`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.index.options import IndexOption, check_recall
from fgembed.cli.index.summary import described, facts
from fgembed.cli.options import JsonOption
from fgembed.workspace import INDEX

PARAMETERS = ("nprobe", "efSearch", "k_factor")


def tune(
    index: IndexOption = INDEX,
    recall: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="recall@10 to reach; by default that of the index."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help=".npy of vectors (Q, D) like those of later searches.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw recall against time, .png or .svg.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tune the search again: the fastest parameters that reach the recall on held-out queries.

    Without --queries a sample of the indexed vectors is used, each left out of its own results.
    Half of the queries select the parameters, the other half measures them.

    Example: fgembed index tune --recall 0.99 --plot tuning.png
    """
    from fgembed.cli.tables import print_table
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.retune import retune
    from fgembed.index.tools.tuning_plot import check_plot
    from fgembed.index.tools.tuning_plot import plot as draw
    from fgembed.text import showable

    check_recall(recall)
    if plot is not None:
        check_plot(plot)
    vectors = ImportedEmbeddings.of_file(queries).parts()[0].vectors() if queries else None
    retuned = retune(index, recall, vectors)
    if plot is not None:
        draw(plot, retuned)
    if as_json:
        tried = [
            {
                "segment": segment.name,
                "recall@10": point.recall_at_10,
                "query_ms": point.batch_query_ms,
            }
            | {"parameters": point.parameters}
            for segment, tuned in retuned.tuned
            for point in tuned.points
        ]
        print(json.dumps({"index": str(index)} | facts(retuned.manifest) | {"tried": tried}))
        return
    rows = [
        [segment.name, *(str(point.parameters.get(name, "")) for name in PARAMETERS),
         f"{point.recall_at_10:.3f}", f"{point.batch_query_ms:.3f}",
         "selected" if point.parameters == tuned.parameters else ""]
        for segment, tuned in retuned.tuned
        for point in tuned.points
    ]  # fmt: skip
    if rows:
        columns = ["segment", *PARAMETERS, "recall@10", "ms", ""]
        print_table(columns, rows, right={*PARAMETERS, "recall@10", "ms"})
    else:
        print("every vector is compared: there is nothing to tune")
    print(f"{showable(str(index))}: {described(retuned.manifest)}")
