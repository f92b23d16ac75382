"""What `evaluate` calls: a model's name becomes embedders, floors first."""

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgembed.bundle import CONFIG_FILE, WEIGHTS_FILE, Bundle
from fgembed.config import RunConfig, validate
from fgembed.errors import (
    ConfigError,
    FgembedError,
    IntegrityError,
    MissingExtraError,
    NotFoundError,
)
from fgembed.files import read_toml, sha256
from fgembed.workspace import find_run

if TYPE_CHECKING:
    from fgembed.evaluate import Embed, Measure
    from fgembed.scores import FloorTable


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
            raise ConfigError(f"--precision {precision} is of a bundle; give the bundle's folder")
        run = _floor_run(bundle, floor) if bundle else find_run(model)
        config = validate(RunConfig, read_toml(run / "config.toml"), str(run))
        gallery = gallery or (Path(config.eval.gallery) if config.eval.gallery else None)
        queries = queries or (Path(config.eval.queries) if config.eval.queries else None)
        if gallery is None or queries is None:
            raise ConfigError(
                "no labelled pictures to score on; give --gallery DIR and --queries DIR"
            )
        return cls(run, bundle, config, gallery, queries)


def measure(
    subject: Subject,
    max_bad: float,
    device: str,
    measures: "Sequence[Measure]" = (),
    bundle_device: str | None = None,
) -> "FloorTable":
    """The floor table of a run or a bundle; `bundle_device` is ONNX Runtime's, `device` torch's.

    Raises:
        FgembedError: see `fgembed.evaluate.floor_table`.
    """
    from fgembed.devices import choose_device
    from fgembed.evaluate import floor_table
    from fgembed.scores import SELECTION_NOTES
    from fgembed.training_run import load_embedders

    embedders = load_embedders(subject.run, choose_device(device))
    if subject.bundle:
        embedders = _with_bundle(embedders, subject.bundle, bundle_device or device)
    notes = SELECTION_NOTES[subject.config.select]
    return floor_table(embedders, subject.gallery, subject.queries, max_bad, measures, notes)


def prepare_report(folder: Path, subject: Subject) -> None:
    """Makes the report's folder, so that what stands in its way is known before the scores are.

    Raises:
        MissingExtraError: matplotlib is not installed.
        FgembedError: the folder is a file, or lies among photographs.
    """
    images = [Path(subject.config.images)] if subject.config.images else []
    for photographs in (subject.gallery, subject.queries, *images):
        if folder.resolve().is_relative_to(photographs.resolve()):
            raise FgembedError(
                f"{folder} lies in {photographs}, where the report's pictures would be taken for "
                "photographs; choose a folder outside"
            )
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("--report", "matplotlib", "train")
    from fgembed.report import report_folder

    report_folder(folder)


def report_on(subject: Subject, table: "FloorTable", folder: Path) -> Path:
    """Writes the report; its Markdown file."""
    from fgembed.report import write_report

    command = shlex.join(["fgembed", *sys.argv[1:]])
    return write_report(folder, table, subject.run, subject.config, subject.queries, command)


def probes(names: Sequence[str], few_labels: bool, views: int) -> "list[Measure]":
    """The probes by name, commas allowed; few labels alone mean those of `lcr`.

    Raises:
        ConfigError: there is no such probe, or views are given to none.
    """
    from fgembed.probe import Probe

    wanted = [name.strip() for text in names for name in text.split(",")]
    if few_labels and not wanted:
        wanted = ["lcr"]
    if views and not wanted:
        raise ConfigError("--probe-views are for a probe; add --probe lcr")
    return [Probe(name, few_labels, views) for name in dict.fromkeys(wanted)]


def _floor_run(bundle: Bundle, floor: Path | None) -> Path:
    run = floor or bundle.source_run
    if not run.is_dir():
        raise NotFoundError(
            f"{bundle.folder} was exported from {run}, which is not there, and no score is shown "
            "without its floor; give the run's folder by --floor"
        )
    of_run, of_start = run / "encoder.safetensors", run / "start" / "encoder.safetensors"
    sums = [sha256(weights) for weights in (of_run, of_start) if weights.is_file()]
    if bundle.config.files[WEIGHTS_FILE] not in sums:
        raise IntegrityError(
            f"{bundle.folder} was not exported from {run} as it is now, so its start is not the "
            "bundle's floor; export the run again, or give the right one by --floor"
        )
    return run


def _with_bundle(embedders: dict[str, "Embed"], bundle: Bundle, device: str) -> dict[str, "Embed"]:
    """The floors, and ONNX Runtime on the bundle in place of the run's torch encoder."""
    from fgembed.index.onnx_embedder import OnnxEmbedder

    *floors, _ = embedders
    name = f"bundle {bundle.folder}{'' if bundle.precision == 'fp32' else f', {bundle.precision}'}"
    onnx = OnnxEmbedder.of(bundle, device, bulk=True)
    return {floor: embedders[floor] for floor in floors} | {name: onnx}
