"""`fgembed search`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    Precision,
    ProviderOption,
    device_name,
)
from fgembed.errors import ConfigError, FgembedError
from fgembed.text import showable
from fgembed.workspace import INDEX

if TYPE_CHECKING:
    from fgembed.index import Hit, Searcher
    from fgembed.index.search.reranking import Reranking
    from fgembed.pages.cards import ResultRow

app = typer.Typer(add_completion=False)


class Rerank(StrEnum):
    """Ways to re-rank hits."""

    expansion = "expansion"
    reciprocal = "reciprocal"
    augmentation = "augmentation"


@app.command()
def search(
    query: Annotated[Path | None, typer.Argument(help="The image to look up.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of neighbours.")] = 10,
    index: Annotated[Path, typer.Option(help="The index folder.")] = INDEX,
    bundle: Annotated[
        Path | None, typer.Option(help="The exported model, if it was moved.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Only images that meet this condition."),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Instead of QUERY: a folder or list of images, or .npy of vectors."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --queries: a .jsonl or .parquet file for the hits.")
    ] = None,
    rerank: Annotated[
        Rerank | None, typer.Option(help="Re-rank the hits by their similarity to one another.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a results page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also write a contact sheet.")] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show the peak of each heat map; maps in --png."),
    ] = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Which exported model; default: the index's."),
    ] = None,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the nearest images of the index.

    The score is the cosine of the two embeddings: higher is nearer.

    --rerank changes the order, never the score. expansion: search again with the mean of the query
    and its first hits (alpha query expansion). reciprocal: order the first hits by the neighbours
    they share with the query (k-reciprocal re-ranking). augmentation: replace each of the first
    hits by the mean with its own neighbours (database-side augmentation).

    --where is an SQL condition on the columns of the index (`fgembed index info` lists them).

    Example: fgembed search query.jpg -k 5 --html hits.html

    Example: fgembed search query.jpg --where "label = 'kiwi' and year > 2020"

    Example: fgembed search --queries photos/ --out hits.jsonl
    """
    from fgembed.index import Searcher

    if queries is not None:
        if query is not None or rerank or html or png or explain:
            raise ConfigError(
                "--queries excludes QUERY, --rerank, --html, --png and --explain",
                "leave them out, or search one image at a time",
            )
        if out is None:
            raise ConfigError("--queries needs a file for the hits", "give --out hits.jsonl")
        from fgembed.cli.search_batch import search_many

        search_many(
            queries,
            out,
            k=k,
            where=where,
            index=index,
            bundle=bundle,
            device=device_name(device, provider),
            precision=precision,
            as_json=as_json,
        )
        return
    if query is None:
        raise ConfigError("no query", 'give an image, or see "fgembed search --help"')
    if out is not None:
        raise ConfigError("--out needs --queries", "use --json for the hits of one query")
    _check_query(query)
    _check_outputs(query, html, png)
    searcher = Searcher.open(index, bundle, device_name(device, provider), precision)
    hits = searcher.search(query, k, _reranking(rerank), where)
    explained = None
    if html or png or explain:
        from fgembed.index.search.explain import explain as explain_hits

        explained = explain_hits(searcher, query, hits)
        order = {"order": f"re-ranked by {rerank}, scores are cosines"} if rerank else {}
        _write_images(searcher, explained.row, html, png, explain, order)
    peaks = explained.peaks() if explain and explained else None
    if as_json:
        print(json.dumps([_as_json(hit, peaks, rerank) for hit in hits]))
        return
    if not hits:
        print(f"no image of the index meets {where!r}" if where else "the index is empty")
        return
    _print_hits(hits, peaks)
    if missing := sum(not hit.exists() for hit in hits):
        from fgembed.index.search.hits import MISSING_REMEDY

        print(f"{missing} of {len(hits)} files are missing; {MISSING_REMEDY}")
    for name, file in (("results page", html), ("contact sheet", png)):
        if file:
            print(f"{name}: {showable(str(file))}")
    if rerank:
        print(f"order: re-ranked by {rerank}; score: the cosine with the query")


def _check_query(query: Path) -> None:
    if query.is_dir():
        raise FgembedError(
            f"query {query} is a folder, expected an image",
            'search with all of its images by "--queries DIR --out hits.jsonl"',
        )


def _reranking(rerank: Rerank | None) -> "Reranking | None":
    """The re-ranking with its default parameters."""
    if rerank is None:
        return None
    from fgembed.index.search.reranking import RERANKINGS

    return RERANKINGS[rerank]


def _check_outputs(query: Path, html: Path | None, png: Path | None) -> None:
    if html:
        from fgembed.pages.html_page import RESULTS_PAGE

        RESULTS_PAGE.check(html, [query])
    if png:
        from fgembed.pages.contact_sheet import CONTACT_SHEET

        CONTACT_SHEET.check(png, [query])


def _write_images(
    searcher: "Searcher",
    row: "ResultRow",
    html: Path | None,
    png: Path | None,
    explain: bool,
    order: dict[str, str],
) -> None:
    if html:
        from fgembed.pages.html_page import write_html

        manifest, model = searcher.manifest, searcher.bundle.config
        kind = manifest.main.factory or "flat"
        learned = model.rationale == "learned"
        facts = {
            "index": f"{searcher.vectors.folder}, {manifest.count} images, {kind}",
            "model": f"{model.backbone}, {model.method}",
            "heat map": "learned rationale" if learned else "activation strength, not learned",
        }
        write_html(html, [row], f"Nearest to {row.query.title}", facts | order)
    if png:
        from fgembed.pages.contact_sheet import write_png

        write_png(png, [row], heat=explain)


def _print_hits(hits: "list[Hit]", peaks: dict[int, tuple[float, float]] | None) -> None:
    from fgembed.cli.process.short_paths import short_path
    from fgembed.cli.tables import print_table

    columns = ["rank", "score", "image"]
    marks = ["" if hit.exists() else "  (missing)" for hit in hits]
    rows = [
        [str(hit.rank), f"{hit.score:.3f}", f"{short_path(hit.path)}{mark}"]
        for hit, mark in zip(hits, marks, strict=True)
    ]
    if peaks is not None:
        columns.append("peak x, y")
        for hit, row in zip(hits, rows, strict=True):
            row.append("{:.0%}, {:.0%}".format(*peaks[hit.id]) if hit.id in peaks else "none")
    print_table(columns, rows, right={"rank", "score"})


def _as_json(
    hit: "Hit", peaks: dict[int, tuple[float, float]] | None, rerank: Rerank | None
) -> dict[str, object]:
    fields: dict[str, object] = {
        "rank": hit.rank,
        "score": hit.score,
        "path": str(hit.path),
        "id": hit.id,
    }
    if hit.metadata:
        fields["metadata"] = hit.metadata
    if not hit.exists():
        fields["exists"] = False
    if rerank:
        fields["reranked"] = rerank.value
    return fields if peaks is None else fields | {"peak": peaks.get(hit.id)}
