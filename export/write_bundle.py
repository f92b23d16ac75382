"""A run becomes a bundle, or nothing is written: export, prove parity, describe, publish."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fgembed.bundle import (
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
from fgembed.export.precision_loss import AgreementDrop, Judge, RecallDrop
from fgembed.export.quantize import write_int8
from fgembed.export.run_source import Source
from fgembed.export.to_onnx import OPSET, write_half_onnx, write_onnx
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import PixelEncoder
from fgembed.model.pooling import RationalePooling
from fgembed.progress import ReportStage, silent
from fgembed.workspace import EncoderFolder

JUDGED_IMAGES = 1000  # whose neighbours int8 must keep, where there are no labels
MAX_DROP = 0.5
OTHER_SIZE = 1.25  # of the run's, at which a graph of dynamic size is proved too


@dataclass(frozen=True)
class Exported:
    """A bundle on disk, how closely its files agree with torch, and whether it beats its floor."""

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
    """Exports an encoder into the folder `target`, replacing a bundle that is there.

    Args:
        source: what is exported.
        target: the bundle folder; nothing appears there unless parity holds.
        images: real pictures to compare and calibrate on; the run's training pictures if None.
        precisions: keys of `MODEL_FILES`; float32 is always among the files.
        max_drop: what an int8 file may lose of recall@1, or of neighbour agreement where the run
            has no labelled pictures, in points of percent.
        labelled: gallery and queries in class folders, for recall@1; the run's own if None.
        dynamic_size: let the graphs take square pictures of any size, proved at a second one.
        report_stage: takes a line on what is done next.

    Raises:
        NotFoundError: the pictures are gone.
        IntegrityError: ONNX Runtime does not agree with torch.
        FgembedError: `target` holds something that is no bundle, or int8 loses more than
            `max_drop`.
    """
    refuse_other_than_bundle(target)
    pictures = images or Path(source.settings["images"])
    config = _describe(source, target)
    # Read as who opens the bundle will read them: a wrong description fails too.
    given = Preprocessing.from_json(config.preprocessing, target)
    with staged_folder(target) as staged:
        files = _Files(
            source, staged, pictures, given, source.labelled(labelled), dynamic_size, report_stage
        )
        for precision in (name for name in MODEL_FILES if name in {"fp32", *precisions}):
            files.write(precision, max_drop)
        torch_recall = None if labelled else source.torch_recall()
        exported = Exported(target, config, source.verdict, torch_recall, files.reports)
        shutil.copyfile(EncoderFolder(source.folder).weights, staged / WEIGHTS_FILE)
        shutil.copyfile(EncoderFolder(source.folder).description, staged / ENCODER_FILE)
        write_json(staged / "parity.json", _parity_json(exported))
        described = preprocessor_config(given, normalise=False)
        write_json(staged / "preprocessor_config.json", described)
        card = model_card(config, source, list(files.reports.values()))
        write_text(staged / "README.md", card)
        config = replace(config, files=_checksums(staged))
        write_json(staged / "config.json", config.to_json())
    return replace(exported, config=config)


class _Files:
    """Writes a bundle's ONNX files, float32 first, and measures each."""

    def __init__(
        self,
        source: Source,
        staged: Path,
        pictures: Path,
        given: Preprocessing,
        split: Split | None,
        dynamic_size: bool,
        report_stage: ReportStage,
    ) -> None:
        self.report_stage = report_stage
        self.source = source
        self.staged = staged
        self.pictures = pictures
        self.given = given
        self.split = split
        self.dynamic_size = dynamic_size
        self.model = PixelEncoder(source.encoder, source.spec, dynamic_size).eval()
        self.expected = parity_images(pictures, source.spec)
        self.read = parity_images(pictures, given)
        self.reports: dict[str, FileReport] = {}
        self.judge: Judge | None = None

    def write(self, precision: str, max_drop: float) -> None:
        """Writes the file of a precision.

        Raises:
            IntegrityError: it does not agree with torch.
            FgembedError: int8 loses more than `max_drop`.
        """
        file, plain = self.staged / MODEL_FILES[precision], self.staged / MODEL_FILE
        self.report_stage(f"{MODEL_FILES[precision]}: exporting, and comparing with torch")
        if precision == "fp32":
            write_onnx(self.source.encoder, self.source.spec, file, dynamic_size=self.dynamic_size)
            parity = self._enforced(file, precision)
            recall = None
            if self.split is not None:
                self.report_stage("recall@1 on the labelled pictures")
                self.judge = judge = RecallDrop(file, self.split, self.given)
                recall = judge.before
            self.reports[MODEL_FILE] = FileReport(parity, recall=recall)
            return
        if self.judge is None:
            judged = parity_images(self.pictures, self.given, JUDGED_IMAGES)
            self.judge = AgreementDrop(plain, judged, self.given)
        quantised = None
        if precision == "fp16":
            size = self.dynamic_size
            write_half_onnx(self.source.encoder, self.source.spec, file, dynamic_size=size)
            parity = self._enforced(file, precision)
            drop = self.judge(file)
        else:
            quantised = write_int8(
                plain, file, self.given, self.read, self.judge, max_drop, self.report_stage
            )
            parity, drop = self._enforced(file, precision), quantised.drop
        recall = drop.after if self.split is not None else None
        self.reports[MODEL_FILES[precision]] = FileReport(parity, drop, quantised, recall)

    def _enforced(self, file: Path, precision: str) -> Parity:
        embedder = OnnxEmbedder(file, self.given, device="cpu")
        parity = measure_parity(self.model, embedder, self.expected, self.read, precision)
        parity.enforce()
        if self.dynamic_size:
            larger = replace(self.source.spec, size=round(OTHER_SIZE * self.source.spec.size))
            pixels = parity_images(self.pictures, larger)
            measure_parity(self.model, embedder, pixels, precision=precision).enforce()
        return parity


def _describe(source: Source, target: Path) -> BundleConfig:
    """All but the checksums of the files."""
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
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
