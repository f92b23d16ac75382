"""Builds an index from existing embeddings, or adds them to an index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Self

import numpy as np

from fgembed.bundle import Bundle
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import IntegrityError
from fgembed.index.changes.build import BuildReport, new_manifest
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings, ImportedPart
from fgembed.index.changes.plan import roots_of
from fgembed.index.changes.transaction import NO_IDS, ChangeReport, Transaction, settings_for_count
from fgembed.index.format.metadata_table import Item
from fgembed.index.format.model_binding import check_model, model_of
from fgembed.index.format.publishing import only_writer, publish
from fgembed.index.library.indexed_images import indexed_images
from fgembed.index.segments.faiss_building import check_kind
from fgembed.index.segments.faiss_index import Mask
from fgembed.index.segments.segment_builder import DEFAULTS, IndexSettings, Source, assemble
from fgembed.progress import ReportStep, silent

EQUAL = 1e-5  # a cosine this close to 1 is that of equal vectors, also when stored as float16


def build_from_embeddings(
    imported: ImportedEmbeddings,
    bundle: Bundle | None,
    folder: Path,
    *,
    settings: IndexSettings = DEFAULTS,
    report: ReportStep = silent,
) -> BuildReport:
    """Indexes existing embeddings; replaces an existing index.

    Args:
        imported: the embeddings, (N, D) of any length.
        bundle: the model that made them. None if it is unknown: such an index is searched by
            vectors alone, not by images.
        folder: the index.
        settings: kind, store, recall and memory of the new index.
        report: receives the stage, how much of it is completed, and the total.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        IntegrityError: another model made the embeddings, or they are damaged.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    if bundle is not None:
        _check_dimensions(imported, bundle.config.dimensions, bundle.folder)
        _check_maker(imported, bundle.config.fingerprint, bundle.precision, bundle.folder)
    check_kind(settings.kind, imported.dimensions)
    settings = replace(settings, store=settings.store_for(imported.count, imported.dimensions))
    with only_writer(folder, new=True):
        ids = imported.metadata.ids
        segment = assemble(folder, imported.source(), settings, report)
        manifest = new_manifest(
            segment,
            imported.dimensions,
            settings,
            model=None if bundle is None else model_of(bundle, folder),
            next_id=imported.count if ids is None else max(ids) + 1,
            roots=[],  # images added later must not take labels from folders of these
        )
        return BuildReport(publish(folder, manifest), [])


def add_embeddings(
    folder: Path,
    imported: ImportedEmbeddings,
    bundle: Bundle | None = None,
    *,
    report: ReportStep = silent,
) -> ChangeReport:
    """Adds embeddings to an index; an image that it holds with another vector is replaced.

    An image with the same vector keeps its id and its metadata. New ids are those of the metadata,
    or continue those of the index; `fgembed embed` writes positions in its list, which are not ids.

    Args:
        folder: the index.
        imported: the embeddings, (N, D) of any length.
        bundle: the model that made them; needed where they carry no record of `fgembed embed`.
        report: receives the stage, how much of it is completed, and the total.

    Raises:
        NotFoundError: there is no index.
        FgembedError: another process is writing it.
        IntegrityError: another or an unknown model made the embeddings, they are damaged, or an
            id is in the index already.
    """
    with only_writer(folder):
        change = Transaction.begin(folder)
        manifest = change.manifest
        _check_origin(imported, bundle, change)
        ids = imported.metadata.ids if imported.plan is None else None
        root = _root(change, imported.metadata.root)
        new = _NewRows.among(imported.parts(manifest.next_id, ids is None, root), change)
        if not new.count:
            return ChangeReport(manifest, unchanged=imported.count)
        _check_ids(imported, change, new.ids() if ids is not None else [])
        source = Source(
            parts=new.parts,
            count=new.count,
            dimensions=imported.dimensions,
            root=str(root),
            columns=imported.metadata.columns,
        )
        segment = assemble(folder, source, settings_for_count(manifest, new.count), report)
        last_id = max(ids) if ids is not None else manifest.next_id + imported.count - 1
        return ChangeReport(
            manifest=change.commit([segment], new.replaced, max(manifest.next_id, last_id + 1)),
            added=max(0, new.count - len(new.replaced)),
            replaced=len(new.replaced),
            unchanged=imported.count - new.count,
        )


def _root(change: Transaction, common: Path) -> Path:
    """The root of the index that holds the images, else their common folder."""
    roots = roots_of(change.vectors)
    return next((root for root in roots if common.is_relative_to(root)), common)


@dataclass(frozen=True)
class _SelectedRows:
    """The rows of a part at which `selected` (B,) is true."""

    part: ImportedPart
    selected: Mask

    def vectors(self) -> Vectors:
        return self.part.vectors()[self.selected]

    def items(self) -> list[Item]:
        return list(compress(self.part.items(), self.selected))


@dataclass(frozen=True)
class _NewRows:
    """The imported rows that the index lacks, and the ids (R,) that they replace."""

    parts: list[_SelectedRows]
    replaced: Ids

    @classmethod
    def among(cls, imported: Sequence[ImportedPart], change: Transaction) -> Self:
        """Selects all rows but those whose image is indexed with the same vector."""
        indexed = indexed_images(change.vectors)
        parts, replaced = [], [NO_IDS]
        for part in imported:
            named_rows = enumerate(map(str, part.paths()))
            pairs = [(row, item.id) for row, name in named_rows for item in indexed.get(name, [])]
            rows, ids = np.array(pairs, np.int64).reshape(-1, 2).T
            cosines = np.einsum("nd,nd->n", change.vectors.reconstruct(ids), part.vectors()[rows])
            same = np.zeros(part.count, bool)
            same[rows[cosines > 1 - EQUAL]] = True
            replaced.append(ids[~same[rows]])
            if not same.all():
                parts.append(_SelectedRows(part, ~same))
        return cls(parts, np.unique(np.concatenate(replaced)))

    @property
    def count(self) -> int:
        return sum(int(part.selected.sum()) for part in self.parts)

    def ids(self) -> list[int]:
        return [item.id for part in self.parts for item in part.items()]


def _check_origin(imported: ImportedEmbeddings, bundle: Bundle | None, change: Transaction) -> None:
    """The embeddings must come from the model of the index, if it has one."""
    folder, model = change.folder, change.manifest.model
    _check_dimensions(imported, change.manifest.dimensions, folder)
    if bundle is not None:
        check_model(folder, change.manifest, bundle)
    if model is None:
        return
    if imported.plan is None and bundle is None:
        raise IntegrityError(
            f"the embeddings in {imported.folder} do not say which model made them",
            f"if it was the one of {folder}, give its exported folder by --bundle",
        )
    _check_maker(imported, model.fingerprint, model.precision, folder)


def _check_dimensions(imported: ImportedEmbeddings, expected: int, maker: Path) -> None:
    if imported.dimensions != expected:
        raise IntegrityError(
            f"{maker} has {expected} dimensions, the embeddings in {imported.folder} have "
            f"{imported.dimensions}: another model made them",
            f"embed the images with the model of {maker}",
        )


def _check_maker(
    imported: ImportedEmbeddings, fingerprint: str, precision: str, maker: Path
) -> None:
    """If `fgembed embed` recorded the model of the embeddings, it must be this one."""
    plan = imported.plan
    if plan and (plan.get("bundle_fingerprint"), plan.get("precision")) != (fingerprint, precision):
        raise IntegrityError(
            f"the embeddings in {imported.folder} were made by another model or precision "
            f"({plan.get('precision')}) than {maker} ({precision})",
            "embed the images again with that model and precision, or build another index with "
            "the bundle that made them",
        )


def _check_ids(imported: ImportedEmbeddings, change: Transaction, ids: list[int]) -> None:
    used = [segment.ids for segment in change.vectors.segments]
    taken = np.intersect1d(ids, np.concatenate([NO_IDS, *used]))
    if len(taken):
        raise IntegrityError(
            f"{change.folder} has {len(taken)} of the ids in {imported.folder}, {taken[0]} for one",
            'remove those and run "fgembed index compact", or leave the column id out',
        )
