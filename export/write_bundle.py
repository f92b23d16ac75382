"""A run becomes a bundle, or nothing is written: export, prove parity, describe, publish."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fgembed.bundle import (
    CARD_FILE,
    ENCODER_FILE,
    MODEL_FILE,
    MODEL_FILES,
    WEIGHTS_FILE,
    BundleConfig,
    refuse_other_than_bundle,
)
from fgembed.disk.files import sha256, staged_folder, write_json, write_text
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.evaluation.guard import Verdict
from fgembed.evaluation.protocol import Split
from fgembed.export.file_report import FileReport
from fgembed.export.layouts import preprocessor_config
from fgembed.export.model_card import model_card
from fgembed.export.parity import Parity, measure_parity, parity_images
from fgembed.export.precision_loss import AgreementDrop, Drop, Judge, RecallDrop
from fgembed.export.quantize import write_int8
from fgembed.export.run_source import Source
from fgembed.export.to_onnx import OPSET, write_half_onnx, write_onnx
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import PixelEncoder
from fgembed.model.pooling import RationalePooling
from fgembed.progress import ReportStage, silent
from fgembed.workspace import EncoderFolder

JUDGED_IMAGES = 1000  # whose nearest neighbours are compared if there are no labels
MAX_DROP = 0.5
OTHER_SIZE = 1.25  # of the run's: a graph of dynamic size is proved at it, too


@dataclass(frozen=True)
class Exported:
    """A bundle on disk, how closely its files agree with torch, and whether it beats its floor.

    Attributes:
        folder: the bundle.
        config: its description.
        verdict: the guard's.
        torch_recall: recall@1 of the encoder through torch, in 0..1, if the run measured it.
        files: what was measured of each ONNX file, by its name in the bundle.
    """

    folder: Path
    config: BundleConfig
    verdict: Verdict
    torch_recall: float | None
    files: dict[str, FileReport]


def export_bundle(
    source: Source,
    target: Path,
    images: Path | None = None,
    *,
    precisions: Collection[str] = ("fp32",),
    max_drop: float = MAX_DROP,
    labelled: tuple[Path, Path] | None = None,
    dynamic_size: bool = False,
    report_stage: ReportStage = silent,
) -> Exported:
    """Exports an encoder into the folder `target`, replacing an existing bundle.

    Args:
        source: what is exported.
        target: the bundle folder; nothing appears there unless parity holds.
        images: a folder to compare and calibrate on; the run's training images if None.
        precisions: keys of `MODEL_FILES`; float32 is always among the files.
        max_drop: what int8 may lose of recall@1, else of neighbour agreement, in points of percent.
        labelled: gallery and queries in class folders, for recall@1; the run's own if None.
        dynamic_size: let the graphs take square images of any size, proved at a second one.
        report_stage: takes a line on the stage that begins.

    Raises:
        NotFoundError: the images no longer exist.
        FgembedError: a file disagrees with torch or loses too much; `target` is something else.
    """
    refuse_other_than_bundle(target)
    config = _describe(source, target)
    with staged_folder(target) as staged:
        writer = _FileWriter(
            source=source,
            folder=staged,
            images=images or Path(source.settings["images"]),
            bundle_spec=Preprocessing.from_json(config.preprocessing, target),
            split=source.labelled(labelled),
            dynamic_size=dynamic_size,
            max_drop=max_drop,
            report_stage=report_stage,
        )
        writer.write_all(precisions)
        exported = Exported(
            folder=target,
            config=config,
            verdict=source.verdict,
            torch_recall=None if labelled else source.torch_recall(),
            files=writer.reports,
        )
        described = _write_descriptions(staged, source, exported, writer.bundle_spec)
    return replace(exported, config=described)


@dataclass
class _FileWriter:
    """Writes a bundle's ONNX files, float32 first, and measures each."""

    source: Source
    folder: Path
    images: Path
    bundle_spec: Preprocessing  # as the description states it: so a wrong description fails
    split: Split | None
    dynamic_size: bool
    max_drop: float
    report_stage: ReportStage
    reports: dict[str, FileReport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = PixelEncoder(self.source.encoder, self.source.spec, self.dynamic_size).eval()
        self.pixels = parity_images(self.images, self.source.spec)
        self.bundle_pixels = parity_images(self.images, self.bundle_spec)

    def write_all(self, precisions: Collection[str]) -> None:
        """Writes the float32 file and those of `precisions`.

        Raises:
            IntegrityError: a file does not agree with torch.
            FgembedError: int8 loses more than `max_drop`.
        """
        write = {"fp32": self._write_float, "fp16": self._write_half, "int8": self._write_int8}
        for precision, name in MODEL_FILES.items():
            if precision in {"fp32", *precisions}:
                self.report_stage(f"{name}: exporting, and comparing with torch")
                self.reports[name] = write[precision](self.folder / name)

    def _write_float(self, file: Path) -> FileReport:
        write_onnx(self.source.encoder, self.source.spec, file, dynamic_size=self.dynamic_size)
        parity = self._enforced(file, "fp32")
        return FileReport(parity, recall=self.recall_drop.before if self.recall_drop else None)

    def _write_half(self, file: Path) -> FileReport:
        write_half_onnx(self.source.encoder, self.source.spec, file, dynamic_size=self.dynamic_size)
        parity = self._enforced(file, "fp16")
        drop = self.judge(file)
        return FileReport(parity, drop=drop, recall=self._recall(drop))

    def _write_int8(self, file: Path) -> FileReport:
        quantised = write_int8(
            self.folder / MODEL_FILE,
            file,
            self.bundle_spec,
            self.bundle_pixels,
            self.judge,
            self.max_drop,
            self.report_stage,
        )
        parity, drop = self._enforced(file, "int8"), quantised.drop
        return FileReport(parity, drop=drop, quantised=quantised, recall=self._recall(drop))

    @cached_property
    def recall_drop(self) -> RecallDrop | None:
        """Judges by recall@1 on the labelled images, if there are any."""
        if self.split is None:
            return None
        self.report_stage("recall@1 on the labelled images")
        return RecallDrop(self.folder / MODEL_FILE, self.split, self.bundle_spec)

    @cached_property
    def judge(self) -> Judge:
        """Judges files in fewer bits against the float32 file."""
        if self.recall_drop is not None:
            return self.recall_drop
        pixels = parity_images(self.images, self.bundle_spec, JUDGED_IMAGES)
        return AgreementDrop(self.folder / MODEL_FILE, pixels, self.bundle_spec)

    def _recall(self, drop: Drop) -> float | None:
        return drop.after if self.split is not None else None

    def _enforced(self, file: Path, precision: str) -> Parity:
        embedder = OnnxEmbedder(file, self.bundle_spec, device="cpu")
        parity = measure_parity(self.model, embedder, self.pixels, self.bundle_pixels, precision)
        parity.enforce()
        if self.dynamic_size:
            larger = replace(self.source.spec, size=round(OTHER_SIZE * self.source.spec.size))
            pixels = parity_images(self.images, larger)
            measure_parity(self.model, embedder, pixels, precision=precision).enforce()
        return parity


def _write_descriptions(
    folder: Path, source: Source, exported: Exported, spec: Preprocessing
) -> BundleConfig:
    """Every file but the ONNX files; returns the description with all checksums."""
    shutil.copyfile(EncoderFolder(source.folder).weights, folder / WEIGHTS_FILE)
    shutil.copyfile(EncoderFolder(source.folder).description, folder / ENCODER_FILE)
    write_json(folder / "parity.json", _parity_json(exported))
    write_json(folder / "preprocessor_config.json", preprocessor_config(spec, normalise=False))
    card = model_card(exported.config, source, list(exported.files.values()))
    write_text(folder / CARD_FILE, card)
    config = replace(exported.config, files=_checksums(folder))
    config.write(folder)
    return config


def _describe(source: Source, target: Path) -> BundleConfig:
    """The description without the checksums of the files."""
    encoder = source.encoder
    learned = isinstance(encoder.pooling, RationalePooling)
    return BundleConfig(
        backbone=encoder.backbone.name,
        method=source.method,
        pooling=encoder.pooling.kind,
        rationale="learned" if learned else "activation",
        dimensions=encoder.dimensions,
        opset=OPSET,
        preprocessing=source.spec.to_json(),
        source_run=os.path.relpath(source.run.resolve(), target.resolve()),
        files={},
    )


def _parity_json(exported: Exported) -> dict[str, Any]:
    files = {name: report.to_json() for name, report in exported.files.items()}
    return {"torch_recall@1": exported.torch_recall, "files": files}


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in names.items() if name != CARD_FILE}
