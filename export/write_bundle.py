"""A run becomes a bundle, or nothing is written: export, prove parity, describe, publish."""

import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.bundle import MODEL_FILE, WEIGHTS_FILE, BundleConfig, refuse_other_than_bundle
from fgembed.checkpoint import load_encoder
from fgembed.cores import core_count
from fgembed.encoder import Encoder, PixelEncoder
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.export.model_card import model_card
from fgembed.export.parity import Parity, measure_parity
from fgembed.export.to_onnx import OPSET, write_onnx
from fgembed.files import (
    read_json,
    read_toml,
    sha256,
    staged_folder,
    write_json,
    write_text,
)
from fgembed.floors import START
from fgembed.guard import START_ITSELF, Verdict, refuse_below_floor, verdict_in
from fgembed.image_batches import ImageBatches
from fgembed.images import Pixels, Preprocessing, find_images
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.pooling import RationalePooling
from fgembed.scores import FloorTable, Selected

PARITY_IMAGES = 200


@dataclass(frozen=True)
class Exported:
    """A bundle on disk, how closely it agrees with torch, and whether it beats its floor."""

    folder: Path
    config: BundleConfig
    parity: Parity
    verdict: Verdict


def export_bundle(
    run: Path,
    target: Path,
    images: Path | None = None,
    *,
    start: bool = False,
    force: bool = False,
) -> Exported:
    """Exports a finished run into the folder `target`, replacing a bundle that is there.

    Args:
        run: the run folder.
        target: the bundle folder; nothing appears there unless parity holds.
        images: real pictures to compare on; the run's own training pictures if None.
        start: export the run's calibrated start in its place.
        force: export a run that is below its floor.

    Raises:
        NotFoundError: the run is not finished, or the pictures are gone.
        IntegrityError: ONNX Runtime does not agree with torch.
        FgembedError: `target` holds something that is no bundle, or the run is below its floor.
    """
    refuse_other_than_bundle(target)
    source = run / START if start else run
    encoder, spec = load_encoder(source)
    run_config = read_toml(run / "config.toml")
    report = _read_report(run)
    verdict = START_ITSELF if start else verdict_in(report, run)
    if not force:
        refuse_below_floor(verdict, run)
    pictures = images or Path(run_config["images"])
    with staged_folder(target) as staged:
        write_onnx(encoder, spec, staged / MODEL_FILE)
        config = _describe(encoder, spec, run, "none" if start else run_config["method"]["name"])
        # Read as who opens the bundle will read them: a wrong description fails too.
        given = Preprocessing.from_json(config.preprocessing, target)
        parity = measure_parity(
            PixelEncoder(encoder, spec).eval(),
            OnnxEmbedder(staged / MODEL_FILE, given, device="cpu"),
            parity_pictures(pictures, spec),
            parity_pictures(pictures, given),
        )
        parity.enforce()
        shutil.copyfile(source / "encoder.safetensors", staged / WEIGHTS_FILE)
        write_json(staged / "parity.json", parity.to_json())
        write_json(staged / "preprocessor_config.json", preprocessor_config(given))
        write_text(staged / "README.md", model_card(config, run_config, report, parity, verdict))
        config = replace(config, files=_checksums(staged))
        write_json(staged / "config.json", config.to_json())
    return Exported(target, config, parity, verdict)


def parity_pictures(images: Path, spec: Preprocessing) -> Pixels:
    """Up to 200 readable pictures spread over the folder, (N, size, size, 3) uint8."""
    found, _ = find_images(images)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(len(found), PARITY_IMAGES)).astype(int))
    batches = list(ImageBatches([found[i] for i in chosen], spec, threads=core_count()))
    if not batches:
        raise NotFoundError(f"no readable picture in {images}; parity needs real ones")
    return np.concatenate([pixels for _, pixels in batches])


def preprocessor_config(spec: Preprocessing) -> dict[str, Any]:
    """The preprocessing under the names that transformers and fastembed read.

    They normalise outside the graph, ours does it inside: `do_normalize` and `do_rescale` are
    off, because `onnx/model.onnx` takes uint8.
    """
    resample = {"bilinear": 2, "bicubic": 3, "lanczos": 1}[spec.resample]
    square = {"height": spec.size, "width": spec.size}
    shorter = {"shortest_edge": round(spec.size / spec.crop_ratio)}
    return {
        "image_processor_type": "fgembed",
        "do_resize": True,
        "size": shorter if spec.fit == "crop" else square,
        "do_pad": spec.fit == "pad",
        "resample": resample,
        "do_center_crop": spec.fit == "crop",
        "crop_size": square,
        "do_convert_rgb": True,
        "do_rescale": False,
        "do_normalize": False,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


def _read_report(run: Path) -> dict[str, Any]:
    file = run / "report.json"
    again = f'"fgembed train --resume --run {shlex.quote(str(run))}"'
    if not file.is_file():
        raise NotFoundError(f"{run} is not finished; finish it with {again}")
    report = read_json(file, "run report")
    try:
        selected, table = report.get("selected"), report.get("table")
        sound = isinstance(report["images"], int)
        sound &= selected is None or bool(Selected(**selected))
        sound &= table is None or bool(FloorTable.from_json(table).rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{file} is damaged: {error!r}; measure it again with {again}"
        ) from None
    if not sound:
        raise IntegrityError(f"{file} is damaged; measure it again with {again}")
    return report


def _describe(encoder: Encoder, spec: Preprocessing, run: Path, method: str) -> BundleConfig:
    """All but the checksums of the files."""
    learned = isinstance(encoder.pooling, RationalePooling)
    return BundleConfig(
        backbone=encoder.backbone.name,
        method=method,
        pooling=encoder.pooling.kind,
        rationale="learned" if learned else "activation",
        dimensions=encoder.dimensions,
        opset=OPSET,
        preprocessing=spec.to_json(),
        source_run=str(run.resolve()),
        files={},
    )


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
