"""The encoder in the folders that other tools open: immich's and fastembed's.

Both normalise by themselves and want `image` float32 (B, 3, H, W). They read pictures in ways of
their own (no EXIF orientation in fastembed, no decoding at a reduced scale in either), so that
their vectors differ a little from a bundle's; docs/export.md has the measured cosines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.cores import core_count
from fgembed.disk.files import refuse_foreign, staged_folder, write_json
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
    """How another tool wants a model to lie.

    Attributes:
        model: the ONNX file.
        names: of the entries of the folder.
        mark: the JSON file that says whose folder it is.
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
        images: real pictures to compare on; the run's training pictures if None.

    Raises:
        ConfigError: that tool cannot fit pictures as this encoder was trained to see them.
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
        exported = _Normalising(model, source.spec)
        parity = measure_parity(PixelEncoder(source.encoder, source.spec).eval(), exported, pixels)
        parity.enforce()
    return parity


def write_layout(name: str, encoder: Encoder, spec: Preprocessing, folder: Path) -> Path:
    """Writes a layout into an existing folder and returns its ONNX file.

    - `immich`: `visual/model.onnx`, `visual/preprocess_cfg.json`, `config.json`
    - `fastembed`: `model.onnx`, `preprocessor_config.json`

    Raises:
        ConfigError: that tool cannot fit pictures as this encoder was trained to see them.
    """
    if spec.fit == "pad" or (name == "immich" and spec.fit == "crop" and spec.crop_ratio != 1):
        ratio = f" with crop_ratio {spec.crop_ratio}" if spec.fit == "crop" else ""
        raise ConfigError(
            f"{name} cannot fit pictures by {spec.fit!r}{ratio}; it would see others than the "
            "encoder was trained on",
            'train with preprocessing.fit = "squash"',
        )
    mine = {"model_type": _model_type(name)}
    if name == "immich":
        write_json(folder / "config.json", mine | _immich_config(encoder, spec))
        write_json(folder / "visual" / "preprocess_cfg.json", _immich_preprocessing(spec))
    else:
        described = mine | preprocessor_config(spec, normalise=True)
        write_json(folder / "preprocessor_config.json", described)
    model = folder / LAYOUTS[name].model
    write_normalised_onnx(encoder, spec, model)
    return model


def preprocessor_config(spec: Preprocessing, *, normalise: bool) -> dict[str, Any]:
    """The preprocessing under the names that transformers and fastembed read.

    `normalise` says whether the tool scales and normalises; a bundle's own graph does it inside
    and takes uint8. `fit = pad` has no name there: `do_pad` says it to a person.
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


class _Normalising:
    """Runs a graph that wants normalised pictures, as those tools do."""

    def __init__(self, model: Path, spec: Preprocessing) -> None:
        self.session = open_session(model, "cpu", core_count())
        self.mean, self.std = (np.array(each, np.float32) for each in (spec.mean, spec.std))

    def run(self, pixels: Pixels) -> tuple[Vectors, Vectors]:
        images = ((pixels / np.float32(255) - self.mean) / self.std).transpose(0, 3, 1, 2)
        embedding, rationale = self.session.run(["embedding", "rationale"], {"image": images})
        return embedding, rationale


def _model_type(name: str) -> str:
    return f"fgembed-{name}"


def _immich_config(encoder: Encoder, spec: Preprocessing) -> dict[str, Any]:
    """open_clip's names; immich reads only what concerns the text model, which there is none of."""
    return {"embed_dim": encoder.dimensions, "vision_cfg": {"image_size": spec.size}}


def _immich_preprocessing(spec: Preprocessing) -> dict[str, Any]:
    """`resize_mode` is read by immich since 2026; before it always crops the centre."""
    return {
        "size": [spec.size, spec.size],
        "mode": "RGB",
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.resample,
        "resize_mode": "shortest" if spec.fit == "crop" else "squash",
    }
