"""The encoder in the folders that other tools open: immich's and fastembed's.

Both tools normalise and feed `image` float32 (B, 3, H, W). They decode images differently (no EXIF
orientation in fastembed, no decoding at a reduced scale in either), so their vectors differ a
little from a bundle's; docs/export.md has the measured cosines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.cores import core_count
from fgembed.disk.files import staged_folder, write_json
from fgembed.disk.foreign import refuse_foreign
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_sessions import open_session
from fgembed.errors import ConfigError
from fgembed.export.parity import Parity, measure_parity, parity_images
from fgembed.export.run_source import Source
from fgembed.export.to_onnx import write_normalised_onnx
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder


@dataclass(frozen=True)
class Layout:
    """The files that another tool expects of a model.

    Attributes:
        model: the ONNX file.
        names: the entries of the folder.
        mark: the JSON file whose `model_type` tells which program wrote the folder.
    """

    model: str
    names: tuple[str, ...]
    mark: str


LAYOUTS = {
    "immich": Layout("visual/model.onnx", ("visual", "config.json"), "config.json"),
    "fastembed": Layout(
        "model.onnx", ("model.onnx", "preprocessor_config.json"), "preprocessor_config.json"
    ),
}


def export_layout(name: str, source: Source, target: Path, images: Path | None = None) -> Parity:
    """Exports an encoder into the folder `target` as another tool opens it.

    Args:
        name: a key of `LAYOUTS`.
        source: what is exported.
        target: the folder; an older export of the same layout is replaced.
        images: a folder of real images to compare on; the run's training images if None.

    Raises:
        ConfigError: that tool cannot resize images as this encoder's preprocessing does.
        IntegrityError: ONNX Runtime does not agree with torch.
        FgembedError: `target` holds something else.
    """
    layout = LAYOUTS[name]
    # The names are common ones: without the mark none of them is ours.
    names = layout.names if (target / layout.mark).is_file() else ()
    refuse_foreign(target, names, f"an export for {name}", (layout.mark, _model_type(name)))
    pixels = parity_images(images or Path(source.settings["images"]), source.spec)
    with staged_folder(target) as staged:
        model = write_layout(name, source.encoder, source.spec, staged)
        graph = _NormalisedGraph(model, source.spec)
        parity = measure_parity(PixelEncoder(source.encoder, source.spec).eval(), graph, pixels)
        parity.enforce()
    return parity


def write_layout(name: str, encoder: Encoder, spec: Preprocessing, folder: Path) -> Path:
    """Writes a layout into an existing folder and returns its ONNX file.

    - `immich`: `visual/model.onnx`, `visual/preprocess_cfg.json`, `config.json`
    - `fastembed`: `model.onnx`, `preprocessor_config.json`

    Raises:
        ConfigError: that tool cannot resize images as this encoder's preprocessing does.
    """
    if spec.fit == "pad" or (name == "immich" and spec.fit == "crop" and spec.crop_ratio != 1):
        ratio = f" with crop_ratio {spec.crop_ratio}" if spec.fit == "crop" else ""
        raise ConfigError(
            f"{name} cannot fit images by {spec.fit!r}{ratio}, so the encoder would see other "
            "images than in training",
            'train with preprocessing.fit = "squash"',
        )
    mark = {"model_type": _model_type(name)}
    if name == "immich":
        write_json(folder / "config.json", mark | _immich_config(encoder, spec))
        write_json(folder / "visual" / "preprocess_cfg.json", _immich_preprocessing(spec))
    else:
        config = mark | preprocessor_config(spec, normalise=True)
        write_json(folder / "preprocessor_config.json", config)
    model = folder / LAYOUTS[name].model
    write_normalised_onnx(encoder, spec, model)
    return model


def preprocessor_config(spec: Preprocessing, *, normalise: bool) -> dict[str, Any]:
    """The preprocessing under the names that transformers and fastembed read.

    `normalise` says whether the tool scales and normalises; a bundle's graph takes uint8 and does
    so inside. `fit = pad` has no name there: `do_pad` is for human readers.
    """
    resample = {"bilinear": 2, "bicubic": 3, "lanczos": 1}[spec.resample]
    square = {"height": spec.size, "width": spec.size}
    shorter = {"shortest_edge": round(spec.size / spec.crop_ratio)}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": shorter if spec.fit == "crop" else square,
        "do_pad": spec.fit == "pad",
        "resample": resample,
        "do_center_crop": spec.fit == "crop",
        "crop_size": square,
        "do_convert_rgb": True,
        "do_rescale": normalise,
        "rescale_factor": 1 / 255,
        "do_normalize": normalise,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


class _NormalisedGraph:
    """Runs a graph on images that are normalised before, as those tools do."""

    def __init__(self, model: Path, spec: Preprocessing) -> None:
        self.session = open_session(model, "cpu", core_count())
        self.mean, self.std = (np.array(c, np.float32) for c in (spec.mean, spec.std))

    def run(self, pixels: Pixels) -> tuple[Vectors, Vectors]:
        images = ((pixels / np.float32(255) - self.mean) / self.std).transpose(0, 3, 1, 2)
        embedding, rationale = self.session.run(["embedding", "rationale"], {"image": images})
        return embedding, rationale


def _model_type(name: str) -> str:
    return f"fgembed-{name}"


def _immich_config(encoder: Encoder, spec: Preprocessing) -> dict[str, Any]:
    """Under open_clip's names; immich reads only those of the text model, which is absent here."""
    return {"embed_dim": encoder.dimensions, "vision_cfg": {"image_size": spec.size}}


def _immich_preprocessing(spec: Preprocessing) -> dict[str, Any]:
    """`resize_mode` is read by immich since 2026; earlier versions always crop the centre."""
    return {
        "size": [spec.size, spec.size],
        "mode": "RGB",
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.resample,
        "resize_mode": "shortest" if spec.fit == "crop" else "squash",
    }
