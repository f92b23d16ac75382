"""Builds an index out of embeddings that are there already, or adds them to one."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fgembed.bundle import Bundle
from fgembed.errors import IntegrityError
from fgembed.index.assemble import DEFAULTS, Stage, Wishes, assemble
from fgembed.index.build import BuildReport
from fgembed.index.changing import NOBODY, ChangeReport, OpenChange, wishes_for
from fgembed.index.given_embeddings import GivenEmbeddings
from fgembed.index.made_with import check_model
from fgembed.index.manifest import Manifest
from fgembed.index.stored import live_items
from fgembed.index.structure_build import check_kind
from fgembed.index.writing import model_of, only_writer, publish
from fgembed.metrics import Ids


def build_from_embeddings(
    given: GivenEmbeddings,
    bundle: Bundle | None,
    folder: Path,
    *,
    wishes: Wishes = DEFAULTS,
    report: Stage = lambda stage, done, total: None,
) -> BuildReport:
    """Indexes embeddings that are there already, replacing an index that is there.

    Args:
        given: the embeddings.
        bundle: the model that made them, None if that is not known: then no picture can be
            looked up.
        folder: the index.
        wishes: what it is to be.
        report: takes the stage, how much of it is done, of how much.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        IntegrityError: another model made them, or they are damaged.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    if bundle is not None:
        _check_dimensions(given, bundle.config.dimensions, bundle.folder)
        _check_maker(given, bundle.config.fingerprint, bundle.precision, bundle.folder)
    check_kind(wishes.kind, given.dimensions)
    store = wishes.stored(given.count, given.dimensions)
    wishes = replace(wishes, store=store)
    with only_writer(folder, new=True):
        ids = given.metadata.ids
        segment = assemble(folder, given.source(), wishes, report)
        manifest = Manifest(
            model=None if bundle is None else model_of(bundle, folder),
            dimensions=given.dimensions,
            count=segment.count,
            kind=wishes.kind,
            store=store,
            recall=wishes.recall,
            memory=wishes.memory,
            next_id=given.count if ids is None else max(ids) + 1,
            roots=[segment.root],
            segments=[segment],
        )
        return BuildReport(publish(folder, manifest), [])


def add_embeddings(
    folder: Path,
    given: GivenEmbeddings,
    bundle: Bundle | None = None,
    *,
    report: Stage = lambda stage, done, total: None,
) -> ChangeReport:
    """Adds embeddings to an index; a picture that is in it is replaced by what is given of it.

    Ids are those of the metadata, or the next ones; those of `fgembed embed` are places in a list
    and are numbered anew.

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
        change = OpenChange.begin(folder, report)
        manifest = change.manifest
        _check_dimensions(given, manifest.dimensions, folder)
        if bundle is not None:
            check_model(folder, manifest, bundle)
        elif manifest.model is not None:
            if given.plan is None:
                raise IntegrityError(
                    f"the embeddings in {given.folder} do not say which model made them; if it was "
                    f"the one of {folder}, give its exported folder by --bundle"
                )
            _check_maker(given, manifest.model.fingerprint, manifest.model.precision, folder)
        ids = given.metadata.ids if given.plan is None else None
        _check_ids(given, change, ids or [])
        replaced = _replaced(given, change)
        source = given.source(manifest.next_id, ids is None)
        segment = assemble(folder, source, wishes_for(manifest, given.count), report)
        next_id = None if ids is None else max(manifest.next_id, max(ids) + 1)
        done = change.end([segment], replaced, next_id)
        return ChangeReport(done, max(0, given.count - len(replaced)), len(replaced))


def _check_dimensions(given: GivenEmbeddings, expected: int, maker: Path) -> None:
    if given.dimensions != expected:
        raise IntegrityError(
            f"{maker} has {expected} dimensions, the embeddings in {given.folder} have "
            f"{given.dimensions}: another model made them"
        )


def _check_maker(given: GivenEmbeddings, fingerprint: str, precision: str, maker: Path) -> None:
    """Where the embeddings say which model made them, it must be this one."""
    plan = given.plan
    if plan and (plan.get("bundle_fingerprint"), plan.get("precision")) != (fingerprint, precision):
        raise IntegrityError(
            f"the embeddings in {given.folder} were made by another model or precision "
            f"({plan.get('precision')}) than {maker} ({precision}); give the one that made them"
        )


def _check_ids(given: GivenEmbeddings, change: OpenChange, ids: list[int]) -> None:
    used = [segment.ids for segment in change.vectors.segments]
    twice = np.intersect1d(ids, np.concatenate([NOBODY, *used]))
    if len(twice):
        raise IntegrityError(
            f"{change.folder} has {len(twice)} of the ids in {given.folder}, {twice[0]} for one; "
            "remove those and compact the index, or leave the column id out"
        )


def _replaced(given: GivenEmbeddings, change: OpenChange) -> Ids:
    """The ids of the pictures that are given."""
    known = live_items(change.vectors) if given.metadata.path_column else {}
    names = {str(path) for path in given.metadata.pictures()}
    ids = [one.id for name in names & known.keys() for one in known[name]]
    return np.array(sorted(ids), np.int64)
