"""The encoder as an ONNX graph: uint8 pixels in, normalisation inside, dynamic batch."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fgembed.backbones import Backbone
from fgembed.backbones.levels import BackboneOutput
from fgembed.errors import ConfigError
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_batch_norms
from fgembed.model.encoder import Encoder, PixelEncoder

OPSET = 18
INPUT = "image"
OUTPUTS = ("embedding", "rationale")
SCOPES = "pkg.torch.onnx.name_scopes"  # the modules of a node; other metadata holds source paths


def write_onnx(
    encoder: Encoder, spec: Preprocessing, file: Path, *, dynamic_size: bool = False
) -> None:
    """Writes the bundle's graph.

    Inputs and outputs: `image` uint8 (B, H, W, 3) -> `embedding` float32 (B, D), unit length,
    and `rationale` float32 (B, h, w) in [0, 1]. H = W is the size of `spec`, or any with
    `dynamic_size`.

    Raises:
        ConfigError: `dynamic_size`, and the backbone is a transformer.
    """
    if dynamic_size and encoder.backbone.has_tokens:
        raise ConfigError(
            f"{encoder.backbone.name} is a transformer, whose position embeddings are of one size",
            "export it without --dynamic-size",
        )
    pixels = torch.zeros(2, spec.size, spec.size, 3, dtype=torch.uint8)
    side = torch.export.Dim("side")
    sizes = {1: side, 2: side} if dynamic_size else {}
    _write(PixelEncoder(encoder, spec, dynamic_size), pixels, file, sizes)


class HalfBackbone(nn.Module):
    """A backbone that computes in float16, from float32 images to float32 maps."""

    def __init__(self, backbone: Backbone, size: int) -> None:
        super().__init__()
        # Batch norms are folded first: their small variances would vanish in float16.
        self.half_backbone = copy.deepcopy(fold_batch_norms(backbone, size)).half()
        self.name, self.has_tokens = backbone.name, backbone.has_tokens

    def read_levels(self, images: Tensor, depths: Sequence[float]) -> BackboneOutput:
        """As `Backbone.read_levels`."""
        features, summary, inner = self.half_backbone.read_levels(images.half(), depths)
        return BackboneOutput(
            features.float(), summary.float(), tuple(level.float() for level in inner)
        )


def write_half_onnx(
    encoder: Encoder, spec: Preprocessing, file: Path, *, dynamic_size: bool = False
) -> None:
    """Writes the bundle's graph for GPUs: the backbone in float16, inputs and outputs the same.

    Normalisation, pooling and whitening stay in float32: they are little work and sum many
    numbers.
    """
    half = copy.copy(encoder)
    half._modules = dict(encoder._modules)  # so that the encoder keeps its backbone
    half.backbone = HalfBackbone(encoder.backbone, spec.size)  # type: ignore[assignment]
    write_onnx(half, spec, file, dynamic_size=dynamic_size)


def write_normalised_onnx(encoder: Encoder, spec: Preprocessing, file: Path) -> None:
    """Writes a graph for tools that normalise the images themselves.

    As `write_onnx`, but `image` is float32 (B, 3, H, W), normalised.
    """
    _write(_NormalisedInput(encoder), torch.zeros(2, 3, spec.size, spec.size), file)


class _NormalisedInput(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder.explained(images)


def _write(
    model: nn.Module,
    example: Tensor,
    file: Path,
    dynamic_axes: Mapping[int, Any] | None = None,
) -> None:
    """Exports a model by tracing it on an example, and checks the file.

    Args:
        model: returns the tensors of `OUTPUTS`.
        example: its input; two images, because a batch of one would be taken for a constant.
        file: the ONNX file.
        dynamic_axes: axes of the input beside the batch that may have any length.
    """
    model.cpu().eval()
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        warnings.catch_warnings(),
        _quiet("torch.onnx"),
        _quiet("onnxscript"),
        # Fused attention returns another memory layout than its decomposition in the graph, and
        # with a mask (relative positions) the exporter fails on that.
        sdpa_kernel(SDPBackend.MATH),
    ):
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("batch"), **(dynamic_axes or {})},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        for key in node.metadata_props.keys() - {SCOPES}:
            del node.metadata_props[key]
    program.save(str(file), external_data=False)
    onnx.checker.check_model(str(file), full_check=True)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Lifts a logger's level to ERROR inside the block."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
