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

    check_out(out, queries)
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
    missing = 0 if queries.suffix == ".npy" else _missing(results)  # vectors may be of no files
    if as_json:
        facts = {"queries": len(results), "hits": count, "missing": missing}
        print(json.dumps({"out": str(out)} | facts | left_out_counts(skipped, passed_over)))
        return
    print(f"{showable(str(out))}: {count} hits of {len(results)} queries")
    _print_missing(missing)
    print_left_out(skipped, passed_over, remedy="a .txt list of their paths")


def _missing(results: "list[tuple[str, list[Hit]]]") -> int:
    """How many files of the hits are not there."""
    files = {hit.path: hit for _, hits in results for hit in hits}
    return sum(not hit.exists() for hit in files.values())


def _print_missing(count: int) -> None:
    if count:
        from fgembed.index.search.hits import MISSING_REMEDY

        print(f"{count} files of the hits are missing; {MISSING_REMEDY}")


def _search_vectors(
    file: Path, k: int, where: str | None, index: Path
) -> "list[tuple[str, list[Hit]]]":
    """The hits of vectors of the index's own model, so no model is needed."""
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.search.hits import QUERIES_AT_ONCE, hits_of
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
