"""What is evaluated: a run or a bundle, beside the floors of its start."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fgembed.bundle import CONFIG_FILE, WEIGHTS_FILE, Bundle
from fgembed.config import RunConfig, validate
from fgembed.disk.files import read_toml, sha256
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.evaluation.floor_table import SELECTION_NOTES, FloorTable
from fgembed.evaluation.floors import load_floors
from fgembed.evaluation.protocol import Embed, Measure, floor_table
from fgembed.model.devices import choose_device
from fgembed.model.encoder_files import load_encoder, read_encoder_file
from fgembed.model.shared_backbone import SharedPass
from fgembed.workspace import RunFolder, find_run


def load_embedders(run: Path, device: torch.device) -> dict[str, Embed]:
    """The floor table's encoders, floors first, by the name of their row."""
    encoder, spec = load_encoder(run)
    floors = load_floors(run)
    shared = SharedPass(floors, spec, device).embedders
    same = read_encoder_file(run).sha256 == read_encoder_file(RunFolder(run).start.path).sha256
    name = f"run {run.name}"
    own = {name: encoder}
    return {
        **shared,
        name: shared[list(shared)[-1]] if same else SharedPass(own, spec, device).embedders[name],
    }


def measure_run(folder: Path, config: RunConfig, device: torch.device) -> FloorTable | None:
    """The run's floor table; None where the settings name no labelled folders."""
    if config.eval.gallery is None or config.eval.queries is None:
        return None
    embedders = load_embedders(folder, device)
    gallery, queries = Path(config.eval.gallery), Path(config.eval.queries)
    notes = SELECTION_NOTES[config.select]
    return floor_table(embedders, gallery, queries, config.max_bad, notes=notes)


@dataclass(frozen=True)
class Subject:
    """What is scored, and on which labelled pictures.

    Attributes:
        run: the run's folder; for a bundle that of the run it was exported from.
        bundle: what stands in place of the run's encoder, if a bundle was named.
        config: the run's settings.
        gallery: pictures searched.
        queries: pictures looked up.
    """

    run: Path
    bundle: Bundle | None
    config: RunConfig
    gallery: Path
    queries: Path

    @classmethod
    def find(
        cls,
        model: str | None,
        floor: Path | None,
        gallery: Path | None,
        queries: Path | None,
        precision: str = "fp32",
    ) -> "Subject":
        """The run or bundle of that name; the folders are the run's own unless given.

        Raises:
            NotFoundError: the run, the bundle, or the bundle's run is not there.
            ConfigError: no labelled folders are given or set.
        """
        is_bundle = model is not None and (Path(model) / CONFIG_FILE).is_file()
        bundle = Bundle.open(Path(model), precision) if model is not None and is_bundle else None
        if bundle is None and precision != "fp32":
            raise ConfigError(f"--precision {precision} is of a bundle", "give the bundle's folder")
        run = _floor_run(bundle, floor) if bundle else find_run(model)
        config = validate(RunConfig, read_toml(RunFolder(run).config), str(run))
        gallery = gallery or (Path(config.eval.gallery) if config.eval.gallery else None)
        queries = queries or (Path(config.eval.queries) if config.eval.queries else None)
        if gallery is None or queries is None:
            raise ConfigError(
                "no labelled pictures to score on", "give --gallery DIR and --queries DIR"
            )
        return cls(run, bundle, config, gallery, queries)


def measure(
    subject: Subject,
    max_bad: float,
    device: str,
    measures: Sequence[Measure] = (),
    bundle_device: str | None = None,
) -> FloorTable:
    """The floor table of a run or a bundle; `bundle_device` is ONNX Runtime's, `device` torch's.

    Raises:
        FgembedError: see `fgembed.evaluation.protocol.floor_table`.
    """
    embedders = load_embedders(subject.run, choose_device(device))
    if subject.bundle:
        embedders = _with_bundle(embedders, subject.bundle, bundle_device or device)
    notes = SELECTION_NOTES[subject.config.select]
    return floor_table(embedders, subject.gallery, subject.queries, max_bad, measures, notes)


def _floor_run(bundle: Bundle, floor: Path | None) -> Path:
    run = floor or bundle.source_run
    if not run.is_dir():
        raise NotFoundError(
            f"{bundle.folder} was exported from {run}, which is not there, and no score is shown "
            "without its floor",
            "give the run's folder by --floor",
        )
    of_run, of_start = RunFolder(run).encoder.weights, RunFolder(run).start.weights
    sums = [sha256(weights) for weights in (of_run, of_start) if weights.is_file()]
    if bundle.config.files[WEIGHTS_FILE] not in sums:
        raise IntegrityError(
            f"{bundle.folder} was not exported from {run} as it is now, so its start is not the "
            "bundle's floor",
            "export the run again, or give the right one by --floor",
        )
    return run


def _with_bundle(embedders: dict[str, Embed], bundle: Bundle, device: str) -> dict[str, Embed]:
    """The floors, and ONNX Runtime on the bundle in place of the run's torch encoder."""
    *floors, _ = embedders
    name = f"bundle {bundle.folder}{'' if bundle.precision == 'fp32' else f', {bundle.precision}'}"
    onnx = OnnxEmbedder.of(bundle, device, bulk=True)
    return {floor: embedders[floor] for floor in floors} | {name: onnx}
