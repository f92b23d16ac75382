"""What `evaluate` calls: a model's name becomes embedders, floors first."""

from pathlib import Path
from typing import TYPE_CHECKING

from fgembed.bundle import CONFIG_FILE, WEIGHTS_FILE, Bundle
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.files import read_toml, sha256
from fgembed.workspace import find_run

if TYPE_CHECKING:
    from fgembed.evaluate import Embed, FloorTable


def measure(
    model: str | None,
    gallery: Path | None,
    queries: Path | None,
    floor: Path | None,
    max_bad: float,
    device: str,
) -> "FloorTable":
    """The floor table of a run or a bundle.

    Raises:
        NotFoundError: the run, the bundle, or the bundle's run is not there.
        ConfigError: no labelled folders are given or set.
    """
    from fgembed.config import RunConfig, validate
    from fgembed.devices import choose_device
    from fgembed.evaluate import floor_table
    from fgembed.training_run import load_embedders

    bundle = Bundle.open(Path(model)) if model and (Path(model) / CONFIG_FILE).is_file() else None
    run = _floor_run(bundle, floor) if bundle else find_run(model)
    embedders = load_embedders(run, choose_device(device))
    if bundle:
        embedders = _with_bundle(embedders, bundle, device)
    settings = validate(RunConfig, read_toml(run / "config.toml"), str(run)).eval
    gallery = gallery or (Path(settings.gallery) if settings.gallery else None)
    queries = queries or (Path(settings.queries) if settings.queries else None)
    if gallery is None or queries is None:
        raise ConfigError("no labelled pictures to score on; give --gallery DIR and --queries DIR")
    return floor_table(embedders, gallery, queries, max_bad)


def _floor_run(bundle: Bundle, floor: Path | None) -> Path:
    run = floor or Path(bundle.config.source_run)
    if not run.is_dir():
        raise NotFoundError(
            f"{bundle.folder} was exported from {run}, which is not there, and no score is shown "
            "without its floor; give the run's folder by --floor"
        )
    weights = run / "encoder.safetensors"
    if not weights.is_file() or sha256(weights) != bundle.config.files[WEIGHTS_FILE]:
        raise IntegrityError(
            f"{bundle.folder} was not exported from {run} as it is now, so its start is not the "
            "bundle's floor; export the run again, or give the right one by --floor"
        )
    return run


def _with_bundle(embedders: dict[str, "Embed"], bundle: Bundle, device: str) -> dict[str, "Embed"]:
    """The two floors, and ONNX Runtime on the bundle in place of the run's torch encoder."""
    from fgembed.index.onnx_embedder import OnnxEmbedder

    *floors, _ = embedders
    onnx = OnnxEmbedder(bundle.model, bundle.preprocessing, device)
    return {name: embedders[name] for name in floors} | {f"bundle {bundle.folder}": onnx}
