"""Builds an index out of pictures or of embeddings that are there already."""

from dataclasses import dataclass, replace
from pathlib import Path

from fgembed.bundle import Bundle
from fgembed.errors import IntegrityError
from fgembed.images import Skipped
from fgembed.index.assemble import DEFAULTS, Stage, Wishes, assemble
from fgembed.index.embedding import Allowed, Pictures, embed_segment
from fgembed.index.given_embeddings import GivenEmbeddings
from fgembed.index.manifest import Manifest
from fgembed.index.structure_build import check_kind
from fgembed.index.writing import model_of, only_writer, publish


@dataclass(frozen=True)
class BuildReport:
    """What was built and what was left out."""

    manifest: Manifest
    skipped: list[Skipped]


def build_index(
    images: Path,
    bundle: Bundle,
    folder: Path,
    *,
    wishes: Wishes = DEFAULTS,
    max_bad: float = 0.5,
    device: str = "auto",
    report: Stage = lambda stage, done, total: None,
) -> BuildReport:
    """Indexes every picture of a folder, manifest or list, replacing an index that is there.

    Until the new index is whole on disk the old one stays in use; a crash leaves one of them, and
    what was embedded by then is found by the next call.

    Args:
        images: as `Pictures.of` takes it.
        bundle: the exported model.
        folder: the index.
        wishes: what it is to be.
        max_bad: share of unreadable pictures that is a failure.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: takes the stage, how much of it is done, of how much.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        NotFoundError: `images` is missing or empty.
        BadImagesError: more than the share `max_bad` cannot be read; the list of them is written.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    pictures = Pictures.of(images)
    check_kind(wishes.kind, bundle.config.dimensions)
    store = wishes.stored(len(pictures.paths), bundle.config.dimensions)
    wishes = replace(wishes, store=store)
    with only_writer(folder, new=True):
        segment, skipped = embed_segment(
            folder, pictures, bundle, wishes, 0, Allowed(max_bad), device, report
        )
        assert segment is not None  # else nothing could be read, which is an error
        manifest = Manifest(
            model=model_of(bundle, folder),
            dimensions=bundle.config.dimensions,
            count=segment.count,
            kind=wishes.kind,
            store=store,
            recall=wishes.recall,
            memory=wishes.memory,
            next_id=segment.count,
            roots=[segment.root],
            segments=[segment],
        )
        return BuildReport(publish(folder, manifest), skipped)


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
        _check_maker(given, bundle)
    check_kind(wishes.kind, given.dimensions)
    store = wishes.stored(given.count, given.dimensions)
    wishes = replace(wishes, store=store)
    with only_writer(folder, new=True):
        ids = given.ids()
        segment = assemble(
            folder, given.parts(), given.count, given.dimensions, given.root, given.columns,
            wishes, report,
        )  # fmt: skip
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


def _check_maker(given: GivenEmbeddings, bundle: Bundle) -> None:
    if bundle.config.dimensions != given.dimensions:
        raise IntegrityError(
            f"{bundle.folder} gives {bundle.config.dimensions} dimensions, the embeddings in "
            f"{given.folder} have {given.dimensions}: another model made them"
        )
    plan = given.plan
    made_by = None if plan is None else (plan.get("bundle_fingerprint"), plan.get("precision"))
    if made_by is not None and made_by != (bundle.config.fingerprint, bundle.precision):
        raise IntegrityError(
            f"the embeddings in {given.folder} were made by another model or precision "
            f"({plan and plan.get('precision')}) than {bundle.folder}; give the one that made them"
        )
