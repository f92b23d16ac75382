"""An index for other tools: a plain FAISS file with Parquet, or ann-benchmarks' HDF5."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fgembed.disk.files import absolute, staged_folder
from fgembed.disk.parquet import require_pyarrow
from fgembed.errors import FgembedError
from fgembed.index.changes.live_rows import ROWS_AT_ONCE, stored
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_columns import in_arrow
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_vectors

INDEX_FILE = "knn.index"  # as autofaiss and clip-retrieval name it
INFOS_FILE = "index_infos.json"
PARAMETERS = {"k_factor": "k_factor_rf"}  # as FAISS's ParameterSpace calls them


def export_faiss(folder: Path, out: Path, overwrite: bool = False) -> Manifest:
    """Writes `knn.index`, `index_infos.json`, `metadata/*.parquet` and `img_emb/*.npy`.

    The names are those of autofaiss and clip-retrieval. FAISS's positions are the rows of the
    metadata, where ids are a column: a plain FAISS file does not know them. An index that was not
    changed since it was built or compacted keeps its structure; another becomes an exact one.

    Args:
        folder: the index.
        out: a new folder.
        overwrite: replace `out` if it is such a folder.

    Raises:
        MissingExtraError: pyarrow is not installed.
        FgembedError: `out` is there already.
    """
    require_pyarrow("metadata in Parquet")
    import pyarrow
    import pyarrow.parquet

    if absolute(out).is_relative_to(absolute(folder)):
        raise FgembedError(f"{out} lies in the index {folder}", "choose another folder")
    if out.exists() and not (overwrite and (out / INFOS_FILE).is_file()):
        again = ", or give --overwrite" if (out / INFOS_FILE).is_file() else ""
        raise FgembedError(f"{out} is there already", f"choose another folder{again}")
    vectors = open_vectors(folder)
    manifest = vectors.manifest
    if not vectors.segments:
        raise FgembedError(f"{folder} holds no pictures")
    whole = len(vectors.segments) == 1 and vectors.segments[0].live is None
    with staged_folder(out) as staged:
        (staged / "img_emb").mkdir()
        (staged / "metadata").mkdir()
        plain, parameters = _plain(vectors) if whole else (_flat(vectors), {})
        faiss.write_index(plain, str(staged / INDEX_FILE))
        infos = {
            "index_key": _key(vectors) if whole else "Flat",
            "index_param": ",".join(
                f"{PARAMETERS.get(name, name)}={value}" for name, value in parameters.items()
            ),
            "index_path": INDEX_FILE,
            "nb vectors": manifest.count,
            "vectors dimension": manifest.dimensions,
            "metric": "inner product of unit vectors",
        }
        (staged / INFOS_FILE).write_text(json.dumps(infos, indent=2) + "\n")
        for number, (rows, table) in enumerate(_tables(vectors, whole)):
            with (staged / "img_emb" / f"img_emb_{number:04}.npy").open("wb") as stream:
                np.save(stream, rows)
            file = staged / "metadata" / f"metadata_{number:04}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(table), file)
    return manifest


def _plain(vectors: IndexedVectors) -> tuple[Any, dict[str, int]]:
    """The one segment as FAISS has it: a refined structure, or a flat index."""
    segment = vectors.segments[0]
    if segment.structure is None:
        return segment.rows.flat, {}
    if segment.structure.compresses:
        return faiss.IndexRefine(
            segment.structure.base, segment.rows.flat
        ), segment.entry.parameters
    return segment.structure.base, segment.entry.parameters


def _key(vectors: IndexedVectors) -> str:
    """FAISS's name for the one segment's index."""
    segment = vectors.segments[0]
    half = segment.rows.array.dtype == np.float16
    if segment.structure is None:
        return "SQfp16" if half else "Flat"
    refined = ",Refine(SQfp16)" if half else ",RFlat"
    return segment.entry.factory + (refined if segment.structure.compresses else "")


def _flat(vectors: IndexedVectors) -> Any:
    index = faiss.IndexFlatIP(vectors.manifest.dimensions)
    for part in stored(vectors).parts:
        index.add(np.ascontiguousarray(part.vectors()))
    return index


def _tables(vectors: IndexedVectors, whole: bool) -> Any:
    """Rows and metadata, in the order of the FAISS index's positions."""
    source = stored(vectors)
    parts = source.parts
    if whole:
        segment = vectors.segments[0]
        starts = range(0, len(segment.rows), ROWS_AT_ONCE)
        everyone = np.arange(len(segment.rows))
        parts = [
            replace(parts[0], positions=everyone[start : start + ROWS_AT_ONCE])  # type: ignore[type-var]
            for start in starts
        ]
    for part in parts:
        items = part.items()
        table: dict[str, list[Any]] = {
            "id": [item.id for item in items],
            "image_path": in_arrow([str(Path(source.root, item.path)) for item in items], "TEXT"),
        }
        for place, (name, kind) in enumerate(source.columns.items()):
            table[name] = in_arrow([item.values[place] for item in items], kind)
        yield part.vectors(), table
