"""Exports an index for plain FAISS, autofaiss and clip-retrieval: `knn.index` and Parquet."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fgembed.disk.files import absolute, read_json, staged_folder
from fgembed.disk.foreign import refuse_foreign
from fgembed.disk.parquet import require_pyarrow
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError
from fgembed.index.changes.live_rows import ROWS_AT_ONCE, live_source
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_columns import in_arrow
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_vectors

INDEX_FILE = "knn.index"  # as autofaiss and clip-retrieval name it
INFOS_FILE = "index_infos.json"
METRIC = "inner product of unit vectors"
ENTRY_PATTERNS = (INDEX_FILE, INFOS_FILE, "img_emb", "metadata")
INSIDE = {"img_emb": ("img_emb_*.npy",), "metadata": ("metadata_*.parquet",)}
PARAMETERS = {"k_factor": "k_factor_rf"}  # as FAISS's ParameterSpace calls them


def export_faiss(folder: Path, out: Path, overwrite: bool = False) -> Manifest:
    """Writes `knn.index`, `index_infos.json`, `metadata/*.parquet` and `img_emb/*.npy`.

    The layout is that of autofaiss and clip-retrieval. A FAISS position is a row of the metadata,
    which has the id as a column; the FAISS file itself holds no ids. An index that is unchanged
    since it was built or compacted keeps its FAISS structure; any other is exported as exact.

    Args:
        folder: the index.
        out: a new folder.
        overwrite: replace `out` if it is an earlier export.

    Returns:
        The manifest of the exported index.

    Raises:
        NotFoundError: there is no index.
        MissingExtraError: pyarrow is not installed.
        FgembedError: `out` exists or lies in the index, or the index is empty.
    """
    require_pyarrow("metadata in Parquet")
    import pyarrow
    import pyarrow.parquet

    _check_out(out, folder, overwrite)
    vectors = open_vectors(folder)
    if not vectors.segments:
        raise FgembedError(f"{folder} holds no images", 'add some with "fgembed index add"')
    unchanged = len(vectors.segments) == 1 and vectors.segments[0].live is None
    with staged_folder(out) as staged:
        (staged / "img_emb").mkdir()
        (staged / "metadata").mkdir()
        index, parameters = _plain(vectors) if unchanged else (_flat(vectors), {})
        faiss.write_index(index, str(staged / INDEX_FILE))
        infos = _infos(vectors.manifest, _key(vectors) if unchanged else "Flat", parameters)
        (staged / INFOS_FILE).write_text(json.dumps(infos, indent=2) + "\n")
        for number, (rows, table) in enumerate(_tables(vectors, unchanged)):
            with (staged / "img_emb" / f"img_emb_{number:04}.npy").open("wb") as stream:
                np.save(stream, rows)
            file = staged / "metadata" / f"metadata_{number:04}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(table), file)
    return vectors.manifest


def _check_out(out: Path, folder: Path, overwrite: bool) -> None:
    if absolute(out).is_relative_to(absolute(folder)):
        raise FgembedError(f"{out} lies in the index {folder}", "choose another folder")
    is_export = (out / INFOS_FILE).is_file()
    if os.path.lexists(out) and not (overwrite and is_export):
        alternative = ", or give --overwrite" if is_export else ""
        raise FgembedError(f"{out} exists already", f"choose another folder{alternative}")
    metric = read_json(out / INFOS_FILE, "description").get("metric") if is_export else METRIC
    if metric != METRIC:
        raise FgembedError(f"{out} is an export of another tool", "choose another folder")
    refuse_foreign(out, ENTRY_PATTERNS, "an export", inside=INSIDE)


def _infos(manifest: Manifest, key: str, parameters: dict[str, int]) -> dict[str, Any]:
    """`index_infos.json` with the keys of autofaiss."""
    return {
        "index_key": key,
        "index_param": ",".join(
            f"{PARAMETERS.get(name, name)}={value}" for name, value in parameters.items()
        ),
        "index_path": INDEX_FILE,
        "nb vectors": manifest.count,
        "vectors dimension": manifest.dimensions,
        "metric": METRIC,
    }


def _plain(vectors: IndexedVectors) -> tuple[Any, dict[str, int]]:
    """The single segment as a FAISS index with its parameters: flat, or its refined structure."""
    segment = vectors.segments[0]
    if segment.structure is None:
        return segment.rows.flat, {}
    if segment.structure.compresses:
        return faiss.IndexRefine(
            segment.structure.faiss_index, segment.rows.flat
        ), segment.entry.parameters
    return segment.structure.faiss_index, segment.entry.parameters


def _key(vectors: IndexedVectors) -> str:
    """The FAISS factory string of the single segment."""
    segment = vectors.segments[0]
    half = segment.rows.array.dtype == np.float16
    if segment.structure is None:
        return "SQfp16" if half else "Flat"
    refined = ",Refine(SQfp16)" if half else ",RFlat"
    return segment.entry.factory + (refined if segment.structure.compresses else "")


def _flat(vectors: IndexedVectors) -> Any:
    """All live vectors in an exact FAISS index."""
    index = faiss.IndexFlatIP(vectors.manifest.dimensions)
    for part in live_source(vectors).parts:
        index.add(np.ascontiguousarray(part.vectors()))
    return index


def _tables(vectors: IndexedVectors, unchanged: bool) -> Iterator[tuple[Vectors, dict[str, Any]]]:
    """Vectors (B, D) and metadata columns, in the order of the exported index's positions."""
    source = live_source(vectors)
    parts = source.parts
    if unchanged:
        segment = vectors.segments[0]
        starts = range(0, len(segment.rows), ROWS_AT_ONCE)
        positions = np.arange(len(segment.rows))
        parts = [
            replace(parts[0], positions=positions[start : start + ROWS_AT_ONCE])  # type: ignore[type-var]
            for start in starts
        ]
    for part in parts:
        items = part.items()
        table: dict[str, list[Any]] = {
            "id": [item.id for item in items],
            "image_path": in_arrow([str(Path(source.root, item.path)) for item in items], "TEXT"),
        }
        for column, (name, kind) in enumerate(source.columns.items()):
            table[name] = in_arrow([item.values[column] for item in items], kind)
        yield part.vectors(), table
