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
    placed,
)
from fgembed.errors import ConfigError
from fgembed.workspace import INDEX

if TYPE_CHECKING:
    from fgembed.index import Hit, Searcher
    from fgembed.index.search.reranking import Reranking
    from fgembed.pages.cards import ResultRow

app = typer.Typer(add_completion=False)


class Rerank(StrEnum):
    """Ways to order hits anew."""

    expansion = "expansion"
    reciprocal = "reciprocal"
    augmentation = "augmentation"


@app.command()
def search(
    query: Annotated[Path | None, typer.Argument(help="The picture to look up.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    index: Annotated[Path, typer.Option(help="The index folder.")] = INDEX,
    bundle: Annotated[
        Path | None, typer.Option(help="The exported model, where it was moved since.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Only what meets a condition on the index's columns."),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="In place of QUERY: a folder or list of pictures, or .npy of vectors."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --queries: a .jsonl or .parquet file for the hits.")
    ] = None,
    rerank: Annotated[
        Rerank | None, typer.Option(help="Order the hits anew by what they say of one another.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a gallery page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also write a contact sheet.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show where the encoder looks, also in --png.")
    ] = False,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the bundle's models; that of the index.")
    ] = None,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the nearest pictures of the index.

    The score is the cosine of the two embeddings, higher is nearer.

    --rerank changes the order, never the score. expansion: search again with the query moved
    towards its first hits (alpha query expansion). reciprocal: order the first hits by the
    neighbours they share with the query (k-reciprocal re-ranking). augmentation: compare the first
    hits once each is moved towards its own neighbours (database-side augmentation).

    --where takes SQL over the columns of the pictures (`fgembed index info` lists them).

    Example: fgembed search query.jpg -k 5 --html hits.html

    Example: fgembed search query.jpg --where "label = 'kiwi' and year > 2020"

    Example: fgembed search --queries photos/ --out hits.parquet
    """
    from fgembed.index import Searcher

    if queries is not None:
        if out is None:
            raise ConfigError("--queries needs --out, a .jsonl or .parquet file for the hits")
        if query is not None or rerank or html or png or explain:
            raise ConfigError("--queries goes without QUERY, --rerank, --html, --png and --explain")
        from fgembed.cli.search_batch import search_many

        place = placed(device, provider)
        search_many(queries, out, k, where, index, bundle, place, precision, as_json)
        return
    if query is None:
        raise ConfigError("missing argument 'query'", 'see "fgembed search --help"')
    if out is not None:
        raise ConfigError("--out goes with --queries", "--json prints the hits of one query")
    searcher = Searcher.open(index, bundle, placed(device, provider), precision)
    hits = searcher.search(query, k, _way(rerank), where)
    explained = None
    if html or png or explain:
        from fgembed.index.search.explain import explain as explain_hits

        explained = explain_hits(searcher, query, hits)
        order = {"order": f"re-ranked by {rerank}, scores are cosines"} if rerank else {}
        _write_pictures(searcher, explained.row, html, png, explain, order)
    peaks = explained.peaks() if explain and explained else None
    if as_json:
        print(json.dumps([_as_json(hit, peaks, rerank) for hit in hits]))
        return
    if not hits:
        print(f"no picture of the index meets {where!r}" if where else "the index is empty")
        return
    _print_hits(hits, peaks)
    if rerank:
        print(f"order: re-ranked by {rerank}; score: the cosine with the query, as without it")


def _way(rerank: Rerank | None) -> "Reranking | None":
    """With default parameters, loaded only where it is wanted."""
    if rerank is None:
        return None
    from fgembed.index.search.reranking import RERANKINGS

    return RERANKINGS[rerank]


def _write_pictures(
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
        learned = model.rationale == "learned"
        facts = {
            "index": f"{searcher.vectors.folder}, {manifest.count} pictures, {manifest.kind}",
            "model": f"{model.backbone}, {model.method}",
            "heat map": "learned rationale" if learned else "activation strength, not learned",
        }
        write_html(html, [row], f"Nearest to {row.query.title}", facts | order)
    if png:
        from fgembed.pages.contact_sheet import write_png

        write_png(png, [row], heat=explain)


def _print_hits(hits: "list[Hit]", peaks: dict[int, tuple[float, float]] | None) -> None:
    from fgembed.cli.tables import print_table

    columns = ["rank", "score", "picture"]
    rows = [[str(hit.rank), f"{hit.score:.3f}", _short(hit.path)] for hit in hits]
    if peaks is not None:
        columns.append("looks at x, y")
        for hit, row in zip(hits, rows, strict=True):
            row.append("{:.0%}, {:.0%}".format(*peaks[hit.id]) if hit.id in peaks else "gone")
    print_table(columns, rows, right={"rank", "score"})


def _as_json(
    hit: "Hit", peaks: dict[int, tuple[float, float]] | None, rerank: Rerank | None
) -> dict[str, object]:
    plain: dict[str, object] = {
        "rank": hit.rank,
        "score": hit.score,
        "path": str(hit.path),
        "id": hit.id,
    }
    if hit.metadata:
        plain["metadata"] = hit.metadata
    if rerank:
        plain["reranked"] = rerank.value
    return plain if peaks is None else plain | {"peak": peaks.get(hit.id)}


def _short(path: Path) -> str:
    """Relative to the current folder where the picture lies in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
