"""The bundle that an index was made with, which must embed its queries too."""

from pathlib import Path

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from fgembed.index.format.manifest import Manifest


def find_bundle(
    folder: Path, manifest: Manifest, bundle: Path | str | None, precision: str | None = None
) -> Bundle:
    """The bundle that an index was made with, at its own place or where it is now.

    Raises:
        NotFoundError: it is not where it was.
        FgembedError: the index was made without one.
        IntegrityError: another one made the index.
    """
    if manifest.model is None:
        raise FgembedError(
            f"{folder} was made of embeddings without a model, so pictures cannot be looked up",
            'build it with "fgembed index build --from-embeddings DIR --bundle BUNDLE"',
        )
    place = folder / manifest.model.bundle if bundle is None else Path(bundle)
    if bundle is None and not place.is_dir():
        raise NotFoundError(
            f"the bundle that {folder} was made with is not at {place.resolve()}",
            "give its folder by --bundle",
        )
    opened = Bundle.read(place, precision or manifest.model.precision)
    check_model(folder, manifest, opened)
    return opened


def check_model(folder: Path, manifest: Manifest, bundle: Bundle) -> None:
    """Whether a bundle made the index's vectors.

    Raises:
        IntegrityError: another one made them.
    """
    if manifest.model is None or bundle.config.fingerprint != manifest.model.fingerprint:
        raise IntegrityError(
            f"{folder} was made with another model than {bundle.folder}",
            "rebuild it with "
            '"fgembed index build", or give the bundle it was made with by --bundle',
        )
