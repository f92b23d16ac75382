"""`fgembed search --queries`: many queries at once, their hits in a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fgembed.cli.left_out import left_out_counts, print_left_out

if TYPE_CHECKING:
    from fgembed.images.skipped import Skipped
    from fgembed.index.search.hits import Hit


def search_many(
    queries: Path,
    out: Path,
    *,
    k: int,
    where: str | None,
    index: Path,
    bundle: Path | None,
    device: str,
    precision: str | None,
    as_json: bool,
) -> None:
    """Searches with every image of a folder or list, or every vector of a .npy file."""
    from fgembed.cli.progress import StageProgress
    from fgembed.images.kinds.passed_over import PassedOver
    from fgembed.index import Searcher
    from fgembed.index.search.hits_file import check_out, write_hits
    from fgembed.text import showable

    check_out(out)
    results: list[tuple[str, list[Hit]]]
    skipped: list[Skipped] = []
    passed_over = PassedOver()
    if queries.suffix == ".npy":
        results = _search_vectors(queries, k, where, index)
    else:
        from fgembed.index.changes.embed_images import SourceImages

        images = SourceImages.of(queries)
        searcher = Searcher.open(index, bundle, device, precision)
        with StageProgress() as progress:
            matches, skipped = searcher.search_many(
                images.paths,
                k,
                where,
                lambda done, total: progress.stage("searching", done, total),
            )
        results = [(str(path), hits) for path, hits in matches]
        skipped += images.listing.skipped
        passed_over = images.listing.passed_over
    write_hits(out, results)
    count = sum(len(hits) for _, hits in results)
    if as_json:
        facts = {"queries": len(results), "hits": count} | left_out_counts(skipped, passed_over)
        print(json.dumps({"out": str(out)} | facts))
        return
    print(f"{showable(str(out))}: {count} hits of {len(results)} queries")
    print_left_out(skipped, passed_over, remedy="a .txt list of their paths")


def _search_vectors(
    file: Path, k: int, where: str | None, index: Path
) -> "list[tuple[str, list[Hit]]]":
    """The hits of vectors of the index's own model, so no model is needed."""
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.search.hits import hits_of
    from fgembed.index.search.hits_file import QUERIES_AT_ONCE
    from fgembed.index.search.snapshot import open_vectors

    queries = ImportedEmbeddings.of_file(file)
    vectors = open_vectors(index)
    k = min(k, max(1, vectors.manifest.count))
    results: list[tuple[str, list[Hit]]] = []
    for part in queries.parts():
        rows = part.vectors()
        for start in range(0, len(rows), QUERIES_AT_ONCE):
            for hits in hits_of(vectors, rows[start : start + QUERIES_AT_ONCE], k, where):
                results.append((f"{file.name}#{len(results)}", hits))
    return results
