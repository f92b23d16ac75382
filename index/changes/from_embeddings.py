"""Builds an index out of embeddings that are there already, or adds them to one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Self

import numpy as np

from fgembed.bundle import Bundle
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import IntegrityError
from fgembed.index.changes.build import BuildReport
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings, Slice
from fgembed.index.changes.indexed_images import indexed_images
from fgembed.index.changes.transaction import NO_IDS, ChangeReport, OpenChange, settings_for_count
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_table import Item
from fgembed.index.format.model_binding import check_model
from fgembed.index.format.publishing import model_of, only_writer, publish
from fgembed.index.segments.faiss_building import check_kind
from fgembed.index.segments.faiss_index import Mask
from fgembed.index.segments.segment_builder import DEFAULTS, IndexSettings, Source, assemble
from fgembed.progress import ReportStep, silent

EQUAL = 1e-5  # vectors whose cosine differs from 1 by less are the same, kept as float16 too


def build_from_embeddings(
    given: ImportedEmbeddings,
    bundle: Bundle | None,
    folder: Path,
    *,
    settings: IndexSettings = DEFAULTS,
    report: ReportStep = silent,
) -> BuildReport:
    """Indexes embeddings that are there already, replacing an index that is there.

    Args:
        given: the embeddings.
        bundle: the model that made them, None if that is not known: then no picture can be
            looked up.
        folder: the index.
        settings: what it is to be.
        report: takes the stage, how much of it is done, of how much.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        IntegrityError: another model made them, or they are damaged.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    if bundle is not None:
        _check_dimensions(given, bundle.config.dimensions, bundle.folder)
        _check_maker(given, bundle.config.fingerprint, bundle.precision, bundle.folder)
    check_kind(settings.kind, given.dimensions)
    store = settings.store_for(given.count, given.dimensions)
    settings = replace(settings, store=store)
    with only_writer(folder, new=True):
        ids = given.metadata.ids
        segment = assemble(folder, given.source(), settings, report)
        manifest = Manifest(
            model=None if bundle is None else model_of(bundle, folder),
            dimensions=given.dimensions,
            count=segment.count,
            kind=settings.kind,
            store=store,
            recall=settings.recall_target,
            memory=settings.memory_bytes,
            next_id=given.count if ids is None else max(ids) + 1,
            roots=[],  # labels of what is added are not taken from folders that these lie in
            segments=[segment],
        )
        return BuildReport(publish(folder, manifest), [])


def add_embeddings(
    folder: Path,
    given: ImportedEmbeddings,
    bundle: Bundle | None = None,
    *,
    report: ReportStep = silent,
) -> ChangeReport:
    """Adds embeddings to an index; a picture that is in it with another vector is replaced.

    One that is in it with this very vector stays as it is, with its id and its metadata. New ids
    are those of the metadata, or the next ones; those of `fgembed embed` are places in a list and
    are numbered anew.

    Args:
        folder: the index.
        given: the embeddings.
        bundle: the model that made them, where they do not say so themselves.
        report: takes the stage, how much of it is done, of how much.

    Raises:
        NotFoundError: there is no index.
        FgembedError: another process is writing it.
        IntegrityError: another model made them or may have, they are damaged, or have ids that
            the index has.
    """
    with only_writer(folder):
        change = OpenChange.begin(folder)
        manifest = change.manifest
        _check_dimensions(given, manifest.dimensions, folder)
        if bundle is not None:
            check_model(folder, manifest, bundle)
        if manifest.model is not None:
            if given.plan is None and bundle is None:
                raise IntegrityError(
                    f"the embeddings in {given.folder} do not say which model made them",
                    f"if it was the one of {folder}, give its exported folder by --bundle",
                )
            _check_maker(given, manifest.model.fingerprint, manifest.model.precision, folder)
        ids = given.metadata.ids if given.plan is None else None
        lowest = given.metadata.root
        root = next((one for one in change.roots if lowest.is_relative_to(one)), lowest)
        new = _New.among(given.parts(manifest.next_id, ids is None, root), change)
        if not new.count:
            return ChangeReport(manifest, unchanged=given.count)
        _check_ids(given, change, new.ids() if ids is not None else [])
        source = Source(new.parts, new.count, given.dimensions, str(root), given.metadata.columns)
        segment = assemble(folder, source, settings_for_count(manifest, new.count), report)
        last = max(ids) if ids is not None else manifest.next_id + given.count - 1
        done = change.end([segment], new.replaced, max(manifest.next_id, last + 1))
        replaced = len(new.replaced)
        unchanged = given.count - new.count
        return ChangeReport(done, max(0, new.count - replaced), replaced, unchanged=unchanged)


@dataclass(frozen=True)
class _Some:
    """Chosen rows of a slice."""

    slice: Slice
    chosen: Mask

    def vectors(self) -> Vectors:
        return self.slice.vectors()[self.chosen]

    def items(self) -> list[Item]:
        return list(compress(self.slice.items(), self.chosen))


@dataclass(frozen=True)
class _New:
    """What of the embeddings is to be added, and the ids that it replaces."""

    parts: list[_Some]
    replaced: Ids

    @classmethod
    def among(cls, slices: Sequence[Slice], change: OpenChange) -> Self:
        """All but the pictures whose vector is there already."""
        known = indexed_images(change.vectors)
        parts, replaced = [], [NO_IDS]
        for some in slices:
            named = enumerate(map(str, some.pictures()))
            pairs = [(row, one.id) for row, name in named for one in known.get(name, [])]
            rows, ids = np.array(pairs, np.int64).reshape(-1, 2).T
            there, given = change.vectors.reconstruct(ids), some.vectors()[rows]
            same = np.zeros(some.count, bool)
            same[rows[np.einsum("nd,nd->n", there, given) > 1 - EQUAL]] = True
            replaced.append(ids[~same[rows]])
            if not same.all():
                parts.append(_Some(some, ~same))
        return cls(parts, np.unique(np.concatenate(replaced)))

    @property
    def count(self) -> int:
        return sum(int(part.chosen.sum()) for part in self.parts)

    def ids(self) -> list[int]:
        return [item.id for part in self.parts for item in part.items()]


def _check_dimensions(given: ImportedEmbeddings, expected: int, maker: Path) -> None:
    if given.dimensions != expected:
        raise IntegrityError(
            f"{maker} has {expected} dimensions, the embeddings in {given.folder} have "
            f"{given.dimensions}: another model made them"
        )


def _check_maker(given: ImportedEmbeddings, fingerprint: str, precision: str, maker: Path) -> None:
    """Where the embeddings say which model made them, it must be this one."""
    plan = given.plan
    if plan and (plan.get("bundle_fingerprint"), plan.get("precision")) != (fingerprint, precision):
        raise IntegrityError(
            f"the embeddings in {given.folder} were made by another model or precision "
            f"({plan.get('precision')}) than {maker} ({precision})",
            "give the one that made them",
        )


def _check_ids(given: ImportedEmbeddings, change: OpenChange, ids: list[int]) -> None:
    used = [segment.ids for segment in change.vectors.segments]
    twice = np.intersect1d(ids, np.concatenate([NO_IDS, *used]))
    if len(twice):
        raise IntegrityError(
            f"{change.folder} has {len(twice)} of the ids in {given.folder}, {twice[0]} for one",
            "remove those and compact the index, or leave the column id out",
        )
