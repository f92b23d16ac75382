"""The subject of an evaluation, a run or a bundle, scored beside the floors of its start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fgembed.bundle import CONFIG_FILE, WEIGHTS_FILE, Bundle
from fgembed.config import RunConfig, read_config
from fgembed.disk.files import sha256
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.evaluation.finished_run import read_run_report
from fgembed.evaluation.floor_table import SELECTION_NOTES, FloorTable
from fgembed.evaluation.floors import Floors
from fgembed.evaluation.protocol import Embed, Measure, floor_table
from fgembed.evaluation.timing import speeds
from fgembed.images.finding import scan
from fgembed.model.devices import choose_device
from fgembed.model.encoder_files import load_encoder, read_encoder_file
from fgembed.model.shared_backbone import SharedPass
from fgembed.workspace import RunFolder, find_run


def run_embedders(run: Path, device: torch.device) -> dict[str, Embed]:
    """The rows of a run's floor table, by name: the floors, lowest first, then its own encoder.

    Raises:
        NotFoundError: the run is not finished.
        IntegrityError: a file is damaged.
    """
    encoder, spec = load_encoder(run)
    floors = Floors.load(run)
    embedders = floors.shared_pass(device).embedders
    name = f"run {run.name}"
    start = RunFolder(run).start.path
    if read_encoder_file(run).sha256 == read_encoder_file(start).sha256:
        trained = embedders[floors.calibrated_start.name]
    else:
        trained = SharedPass({name: encoder}, spec, device).embedders[name]
    return {**embedders, name: trained}


def bundle_embedders(
    run: Path, bundle: Bundle, device: torch.device, bundle_device: str
) -> dict[str, Embed]:
    """The rows of a bundle's floor table, by name: its run's floors, then ONNX Runtime.

    Raises:
        NotFoundError: the run is not finished.
        IntegrityError: a file is damaged.
    """
    precision = "" if bundle.precision == "fp32" else f", {bundle.precision}"
    embedders = Floors.load(run).shared_pass(device).embedders
    onnx = OnnxEmbedder.of(bundle, bundle_device, bulk=True)
    return {**embedders, f"bundle {bundle.folder}{precision}": onnx}


def measure_run(folder: Path, config: RunConfig, device: torch.device) -> FloorTable | None:
    """The run's floor table; None where the settings name no labelled folders."""
    if config.eval.gallery is None or config.eval.queries is None:
        return None
    gallery, queries = Path(config.eval.gallery), Path(config.eval.queries)
    notes = SELECTION_NOTES[config.select]
    embedders = run_embedders(folder, device)
    table = floor_table(
        embedders,
        gallery,
        queries,
        config.max_bad,
        notes=notes,
        include_clutter=config.include_clutter,
    )
    return _timed(table, embedders, queries, config)


@dataclass(frozen=True)
class Subject:
    """An encoder to score, and the labelled images to score it on.

    Attributes:
        run: the folder of the run; for a bundle, of the run that it was exported from.
        bundle: the bundle to score, if one was named; else the run itself is scored.
        config: the run's settings.
        gallery: folder of the images to search.
        queries: folder of the images to search for.
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
        *,
        include_clutter: bool = False,
    ) -> "Subject":
        """The run or bundle of a name, with the folders to score it on.

        Args:
            model: name or folder of a run, or folder of a bundle; None for the latest run.
            floor: folder of the bundle's run, where that was moved.
            gallery: replaces the gallery of the run's settings.
            queries: replaces the queries of the run's settings.
            precision: of the bundle's ONNX file.
            include_clutter: read it although the settings do not say so.

        Raises:
            NotFoundError: there is no such run or bundle, or the bundle's run is missing.
            ConfigError: neither the arguments nor the settings name labelled folders.
            IntegrityError: the bundle was exported from another run, or a file is damaged.
        """
        is_bundle = model is not None and (Path(model) / CONFIG_FILE).is_file()
        bundle = Bundle.open(Path(model), precision) if model is not None and is_bundle else None
        if bundle is None and precision != "fp32":
            raise ConfigError(
                f"--precision {precision} is for bundles only, and {model or 'the latest run'} is "
                "a run",
                "give the folder of a bundle, or leave --precision out",
            )
        run = _floor_run(bundle, floor) if bundle else find_run(model)
        config = read_config(RunFolder(run).config)
        if include_clutter:
            config = config.model_copy(update={"include_clutter": True})
        if RunFolder(run).report.is_file():
            read_run_report(RunFolder(run))  # settings, encoder and floors are of one run
        gallery = gallery or (Path(config.eval.gallery) if config.eval.gallery else None)
        queries = queries or (Path(config.eval.queries) if config.eval.queries else None)
        if gallery is None or queries is None:
            raise ConfigError(
                "no labelled images to score on", "give --gallery DIR and --queries DIR"
            )
        return cls(run=run, bundle=bundle, config=config, gallery=gallery, queries=queries)


def measure(
    subject: Subject,
    max_bad: float,
    device: str,
    measures: Sequence[Measure] = (),
    bundle_device: str | None = None,
) -> FloorTable:
    """The floor table of a run or a bundle.

    Args:
        subject: the run or bundle.
        max_bad: the share of unreadable images that is accepted, in 0..1.
        device: torch's.
        measures: scores beyond retrieval.
        bundle_device: ONNX Runtime's; as `device` if None.

    Raises:
        FgembedError: see `fgembed.evaluation.protocol.floor_table`.
    """
    run, torch_device = subject.run, choose_device(device)
    if subject.bundle is None:
        embedders = run_embedders(run, torch_device)
    else:
        embedders = bundle_embedders(run, subject.bundle, torch_device, bundle_device or device)
    notes = SELECTION_NOTES[subject.config.select]
    table = floor_table(
        embedders,
        subject.gallery,
        subject.queries,
        max_bad,
        measures,
        notes,
        include_clutter=subject.config.include_clutter,
    )
    return _timed(table, embedders, subject.queries, subject.config)


def _timed(
    table: FloorTable, embedders: Mapping[str, Embed], queries: Path, config: RunConfig
) -> FloorTable:
    """The table with the speed of each row on a few of the queries."""
    images = scan(queries, config.include_clutter).paths
    return replace(table, speed=speeds(embedders, images))


def _floor_run(bundle: Bundle, floor: Path | None) -> Path:
    """The run whose start is the bundle's floor."""
    run = floor or bundle.source_run
    if not run.is_dir():
        raise NotFoundError(
            f"{bundle.folder} was exported from {run}, which is missing, and no score is shown "
            "without its floor",
            "give the run's folder as --floor",
        )
    of_run, of_start = RunFolder(run).encoder.weights, RunFolder(run).start.weights
    sums = [sha256(weights) for weights in (of_run, of_start) if weights.is_file()]
    if bundle.config.files[WEIGHTS_FILE] not in sums:
        raise IntegrityError(
            f"{bundle.folder} was not exported from {run} as it is now, so its start is not the "
            "bundle's floor",
            "export the run again, or give the folder of the right run as --floor",
        )
    return run
