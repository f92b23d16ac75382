"""`fgembed index info`, `verify` and `duplicates`: what an index is and whether it is sound."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgembed.cli.index.options import IndexOption
from fgembed.cli.index.summary import described, facts
from fgembed.cli.options import JsonOption
from fgembed.workspace import INDEX

INFO_FILES = 10_000  # image files that `info` looks for at most

if TYPE_CHECKING:
    from fgembed.embedding.array_types import Ids
    from fgembed.index.search.open_index import IndexedVectors
    from fgembed.index.tools.duplicates import Group


def info(index: IndexOption = INDEX, as_json: JsonOption = False) -> None:
    """Show what an index holds, how it is searched, and its measured recall.

    Example: fgembed index info
    """
    from rich.filesize import decimal

    from fgembed.cli.tables import print_table
    from fgembed.disk.files import absolute
    from fgembed.index.format.manifest import Manifest
    from fgembed.index.tools.missing_files import missing_files_of
    from fgembed.text import showable

    manifest = Manifest.read(index)
    size = sum((index / name).stat().st_size for name in manifest.files if (index / name).exists())
    missing = missing_files_of(index, manifest, INFO_FILES)
    if as_json:
        looked_for = {"missing_files": len(missing.missing), "looked_for": missing.looked_for}
        numbers: dict[str, Any] = {"columns": manifest.columns, "bytes": size} | looked_for
        model = manifest.model and manifest.model.bundle
        parts = [
            {"name": s.name, "count": s.count, "factory": s.factory, "root": s.root}
            for s in manifest.segments
        ]
        numbers |= {"bundle": model, "parts": parts, "recall_target": manifest.recall}
        print(json.dumps({"index": str(index)} | facts(manifest) | numbers))
        return
    print(f"{showable(str(index))}: {described(manifest)}")
    print(f"{decimal(size)} on disk, vectors stored as {manifest.store}")
    print(
        f"requested: {manifest.kind}, recall@10 {manifest.recall:g}, within "
        f"{decimal(manifest.memory)}"
    )
    model = manifest.model
    if model is None:
        print("built from embeddings without a model")
    else:
        print(showable(f"model: {absolute(index / model.bundle)}, {model.precision}"))
    names = ", ".join(f"{name} {kind}" for name, kind in manifest.columns.items())
    print(f"columns: id, path, sha256, size, mtime_ns{', ' + showable(names) if names else ''}")
    rows = [
        [s.name, str(s.count), s.factory or "flat", f"{s.measured.recall_at_10:.3f}", s.root]
        for s in manifest.segments
    ]
    print_table(
        ["segment", "vectors", "searched by", "recall@10", "images"], rows,
        right={"vectors", "recall@10"},
    )  # fmt: skip
    if manifest.removed:
        print(f"{manifest.removed.count} removed and not yet compacted")
    if missing.missing:
        print(showable(missing.described()))


def verify(
    index: IndexOption = INDEX,
    bundle: Annotated[
        Path | None, typer.Option(help="The exported model, where it was moved since.")
    ] = None,
    checksums: Annotated[
        bool,
        typer.Option("--checksums", help="Read every image, too: is it as indexed?"),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify an index: every checksum, the counts, the model, and a sample of searches.

    Vectors must find themselves, and unchanged images must give the stored vectors again. Image
    files that are missing are counted. With --checksums every image that is there must have the
    content that was indexed. Exits with 5 when something is wrong.

    Example: fgembed index verify --checksums
    """
    from fgembed.errors import IntegrityError
    from fgembed.index.format.model_binding import find_bundle
    from fgembed.index.tools.verify import verify as verify_index
    from fgembed.text import showable

    result = verify_index(
        index, lambda manifest: find_bundle(index, manifest, bundle), checksums=checksums
    )
    if result.changed and not result.problems:
        count = len(result.changed)
        raise IntegrityError(
            f"index {index}: {count} images have other content than was indexed, "
            f"{result.changed[0]} for one",
            'bring it up to date with "fgembed index add --checksums --sync DIR"',
        )
    if result.problems:
        remainder = f" (and {len(result.problems) - 1} more)" if len(result.problems) > 1 else ""
        raise IntegrityError(
            f"index {index}: {result.problems[0]}{remainder}",
            'restore it from a copy, or build it again with "fgembed index build"',
        )
    numbers = {
        "files": result.files,
        "vectors": sum(segment.count for segment in result.manifest.segments),
        "searched": result.searched,
        "self_found": result.self_recall,
        "embedded": result.embedded,
        "missing_files": len(result.missing.missing),
    }
    if checksums:
        numbers["compared"] = result.compared
    if as_json:
        print(json.dumps({"index": str(index)} | numbers | {"notes": result.notes}))
        return
    compared = f", {result.compared} images with the content indexed" if checksums else ""
    print(
        f"{showable(str(index))}: {result.files} files unchanged, {numbers['vectors']} vectors of "
        f"length 1 with their items, {result.self_recall:.0%} of {result.searched} found by "
        f"themselves, {result.embedded} images embedded again with the same vectors{compared}"
    )
    for note in result.notes:
        print(showable(note))


def duplicates(
    index: IndexOption = INDEX,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Lowest cosine of near copies; else only equal files."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a results page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find images that an index holds more than once.

    Equal files are found by their checksums; with --threshold also near copies, by their cosine.
    Near copies of near copies join the same group; the score of a group is the lowest cosine that
    joined it. A good threshold depends on the encoder: check it on the results page.

    Example: fgembed index duplicates --threshold 0.97 --html copies.html
    """
    from fgembed.cli.tables import print_table
    from fgembed.disk.file_state import state_or_none
    from fgembed.index.search.snapshot import open_vectors
    from fgembed.index.tools.duplicates import duplicates as find
    from fgembed.index.tools.duplicates import paths_of

    if html:
        from fgembed.pages.html_page import RESULTS_PAGE

        RESULTS_PAGE.check(html)
    vectors = open_vectors(index)
    groups = find(vectors, threshold)
    paths = paths_of(vectors, groups)
    if html:
        _write_page(html, vectors, groups, paths)
    if as_json:
        records = [
            {
                "kind": "exact" if group.exact else "near",
                "score": group.score,
                "ids": group.ids,
                "paths": [str(paths[number]) for number in group.ids],
            }
            for group in groups
        ]
        print(json.dumps(records))
        return
    rows = [
        [str(position), "exact" if group.exact else "near", f"{group.score:.3f}", str(number),
         str(paths[number]) + ("" if state_or_none(paths[number]) else "  (missing)")]
        for position, group in enumerate(groups, start=1)
        for number in group.ids
    ]  # fmt: skip
    if rows:
        columns = ["group", "kind", "score", "id", "image"]
        print_table(columns, rows, right={"group", "score", "id"})
    extra = sum(len(group.ids) - 1 for group in groups)
    print(f"{extra} of {vectors.manifest.count} images are copies of others")


def _write_page(
    file: Path, vectors: "IndexedVectors", groups: "list[Group]", paths: dict[int, Path]
) -> None:
    from fgembed.errors import FgembedError, ImageError
    from fgembed.images.decoding import load_rgb
    from fgembed.index.search.explain import SHOWN_SIDE, unshown
    from fgembed.pages.cards import Card, ResultRow, placeholder
    from fgembed.pages.html_page import write_html

    rows = []
    for group in groups:
        first = vectors.reconstruct(_ids(group.ids[:1]))[0]
        cards: list[Card] = []
        for number, vector in zip(group.ids, vectors.reconstruct(_ids(group.ids)), strict=True):
            title = paths[number].name
            try:
                image = load_rgb(paths[number], at_least=SHOWN_SIDE)
            except ImageError:
                reason = unshown(paths[number])
                title, image = f"{title} ({reason})", placeholder(reason)
            score = float(first @ vector) if cards else None
            cards.append(Card(title, image, None, score, ""))
        if len(cards) > 1:
            rows.append(ResultRow(cards[0], cards[1:]))
    if not rows:
        raise FgembedError(
            f"no copies to show, so {file} was not written",
            "lower --threshold",
        )
    facts = {"index": str(vectors.folder), "images": str(vectors.manifest.count)}
    write_html(file, rows, f"Groups of copies: {len(rows)}", facts)


def _ids(numbers: list[int]) -> "Ids":
    import numpy as np

    return np.array(numbers, np.int64)
