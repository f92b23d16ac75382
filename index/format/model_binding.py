"""The bundle that an index was made with and that must embed its queries."""

import os
from pathlib import Path

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from fgembed.index.format.manifest import Manifest, Model


def find_bundle(
    folder: Path, manifest: Manifest, bundle: Path | str | None, precision: str | None = None
) -> Bundle:
    """The bundle that an index was made with, in the folder that the manifest names or `bundle`.

    Raises:
        NotFoundError: the folder that the manifest names is missing.
        FgembedError: the index was made without a bundle.
        IntegrityError: the index was made with another bundle.
    """
    if manifest.model is None:
        raise FgembedError(
            f"{folder} was built from embeddings without a model and takes no images",
            'build it with "fgembed index build --from-embeddings DIR --bundle BUNDLE"',
        )
    bundle_folder = folder / manifest.model.bundle if bundle is None else Path(bundle)
    if bundle is None and not bundle_folder.is_dir():
        raise NotFoundError(
            f"the bundle that {folder} was made with is not at {bundle_folder.resolve()}",
            "give its folder by --bundle",
        )
    opened = Bundle.read(bundle_folder, precision or manifest.model.precision)
    check_model(folder, manifest, opened)
    return opened


def check_model(folder: Path, manifest: Manifest, bundle: Bundle) -> None:
    """Checks that a bundle embedded the index's vectors.

    Raises:
        IntegrityError: another model embedded them.
    """
    if manifest.model is None or bundle.config.fingerprint != manifest.model.fingerprint:
        raise IntegrityError(
            f"{folder} was made with another model than {bundle.folder}",
            'rebuild it with "fgembed index build", '
            "or give the bundle it was made with by --bundle",
        )


def model_of(bundle: Bundle, folder: Path) -> Model:
    """A bundle as the manifest of the index in `folder` names it."""
    return Model(
        bundle=Path(os.path.relpath(bundle.folder.resolve(), folder.resolve())).as_posix(),
        fingerprint=bundle.config.fingerprint,
        precision=bundle.precision,
        preprocessing=bundle.preprocessing.digest(),
    )
