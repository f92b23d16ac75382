"""The encoder in the folders that other tools open: immich's and fastembed's.

Both normalise by themselves and want `image` float32 (B, 3, H, W). They read pictures in ways of
their own (no EXIF orientation in fastembed, no decoding at a reduced scale in either), so that
their vectors differ a little from a bundle's; docs/export.md has the measured cosines.
"""

from pathlib import Path
from typing import Any

from fgembed.encoder import Encoder
from fgembed.errors import ConfigError
from fgembed.export.to_onnx import write_normalised_onnx
from fgembed.files import write_json
from fgembed.images import Preprocessing

LAYOUTS = ("immich", "fastembed")


def write_layout(name: str, encoder: Encoder, spec: Preprocessing, folder: Path) -> Path:
    """Writes a layout into an existing folder and returns its ONNX file.

    - `immich`: `visual/model.onnx`, `visual/preprocess_cfg.json`, `config.json`
    - `fastembed`: `model.onnx`, `preprocessor_config.json`

    Raises:
        ConfigError: those tools cannot fit pictures as this encoder was trained to see them.
    """
    if spec.fit == "pad" or (name == "immich" and spec.fit == "crop" and spec.crop_ratio != 1):
        raise ConfigError(
            f"{name} cannot fit pictures by {spec.fit!r}"
            + (f" with crop_ratio {spec.crop_ratio}" if spec.fit == "crop" else "")
            + '; it would see others than the encoder was trained on. Train with fit = "squash"'
        )
    if name == "immich":
        write_json(folder / "config.json", _immich_config(encoder, spec))
        write_json(folder / "visual" / "preprocess_cfg.json", _immich_preprocessing(spec))
        model = folder / "visual" / "model.onnx"
    else:
        write_json(folder / "preprocessor_config.json", preprocessor_config(spec, normalise=True))
        model = folder / "model.onnx"
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
