"""The exported graph in int8, by static QDQ, for CPUs.

Only the backbone is changed. Normalisation, pooling and whitening are little work and sum many
numbers, so they stay in float32.
"""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.export.precision_loss import Drop, Judge
from fgembed.export.to_onnx import INPUT, SCOPES
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.progress import ReportStage, silent

BACKBONE = "encoder.backbone"  # of PixelEncoder, in the module names of the nodes
LAYERS = ("Conv", "MatMul", "Gemm")
FUSED = ("Relu", "Clip")  # ONNX Runtime fuses them with the layer before, if both are int8
PASSING = ("Add", "MaxPool")  # between convolutions; a transformer's sums need their float range
CALIBRATION_BATCH = 8
SAMPLE_SIZE = 32  # images on which the sensitivity of a layer is measured
MIN_IMAGES = 20


@dataclass(frozen=True)
class Quantised:
    """An int8 file that was written.

    Attributes:
        layers: how many compute in int8.
        in_float: layers left in float32, the most sensitive first.
        drop: what the file loses.
    """

    layers: int
    in_float: list[str]
    drop: Drop


def write_int8(
    model: Path,
    file: Path,
    spec: Preprocessing,
    calibration: Pixels,
    judge: Judge,
    max_drop: float,
    report_stage: ReportStage = silent,
) -> Quantised:
    """Writes the graph with as many layers in int8 as the limit allows.

    First all of them are. While the drop is too large, the most sensitive one, two, four, ... and
    finally half of them stay in float. The lower the mean cosine between the float32 vectors and
    those with one layer in int8, the more sensitive is this layer.

    Args:
        model: the float32 file.
        file: the int8 file.
        spec: the preprocessing of both.
        calibration: images that give the ranges of activations, (N, size, size, 3) uint8.
        judge: measures the drop.
        max_drop: the limit, in percentage points.
        report_stage: takes a line on each file that is judged.

    Raises:
        FgembedError: the drop is too large, or the images are too few; no file is written.
    """
    if len(calibration) < MIN_IMAGES:
        raise FgembedError(
            f"int8 is calibrated and judged on images, and {len(calibration)} are too few for that",
            f"give at least {MIN_IMAGES}, or leave int8 out of --precision",
        )
    quantiser = _Quantiser(model, file.with_suffix(".ranges"), calibration)
    order, drops = quantiser.layers, list[Drop]()
    try:
        for floats in _float_counts(len(order) // 2):
            quantiser.write(file, order[floats:])
            drops.append(judge(file))
            quantised = len(order) - floats
            report_stage(f"int8 in {quantised} of {len(order)} layers: {drops[-1].sentence()}")
            if drops[-1].points <= max_drop:
                return Quantised(quantised, order[:floats], drops[-1])
            if floats == 0:
                report_stage("measuring the layers that int8 harms most")
                order = quantiser.by_sensitivity(model, file, spec, calibration[:SAMPLE_SIZE])
        file.unlink()
    finally:
        quantiser.ranges.unlink(missing_ok=True)
    raise _too_large(min(drops, key=lambda drop: drop.points), max_drop, len(order))


def _too_large(least: Drop, max_drop: float, layers: int) -> FgembedError:
    hint = "" if least.measure == "recall@1" else ", judge it by recall@1 with --gallery, --queries"
    return FgembedError(
        f"no int8 model is within {max_drop:g} points: at best {least.sentence()}, although up to "
        f"{layers // 2} of {layers} layers stayed in float",
        "leave int8 out of --precision"
        f"{hint}, or allow more with --max-drop {math.ceil(10 * least.points) / 10:g}",
    )


def _float_counts(largest: int) -> list[int]:
    """0, 1, 2, 4, ... and `largest`."""
    powers = [2**power for power in range(largest.bit_length())]
    return sorted({0, largest, *powers})


class _Quantiser:
    """Writes a graph with some of its layers in int8; calibrated once."""

    def __init__(self, model: Path, ranges: Path, calibration: Pixels) -> None:
        self.graph = onnx.load(model)
        self.ranges = ranges
        self.calibration = calibration
        nodes = [node for node in self.graph.graph.node if _in_backbone(node)]
        weights = {tensor.name for tensor in self.graph.graph.initializer}
        self.layers = [
            node.name for node in nodes if node.op_type in LAYERS and node.input[1] in weights
        ]
        producers = {output: node.name for node in nodes for output in node.output}
        self.fused = {
            node.name: producers.get(node.input[0]) for node in nodes if node.op_type in FUSED
        }
        has_norms = any(node.op_type == "LayerNormalization" for node in nodes)
        self.passing = [] if has_norms else [n.name for n in nodes if n.op_type in PASSING]

    def write(self, file: Path, layers: Collection[str]) -> None:
        """Writes the file with these layers in int8, and the nodes that connect them."""
        nodes = {*layers, *(self.passing if len(layers) > 1 else [])}
        nodes |= {name for name, producer in self.fused.items() if producer in nodes}
        logging.disable(logging.WARNING)  # it recommends what the exporter has done
        try:
            quantize_static(
                # a copy: the function changes its input
                onnx.ModelProto.FromString(self.graph.SerializeToString()),
                file,
                _Reader(self.calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*LAYERS, *FUSED, *PASSING],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[n.name for n in self.graph.graph.node if n.name not in nodes],
                extra_options={"MatMulConstBOnly": True},
                calibration_cache_path=self.ranges,
            )
        finally:
            logging.disable(logging.NOTSET)

    def by_sensitivity(
        self, model: Path, file: Path, spec: Preprocessing, pixels: Pixels
    ) -> list[str]:
        """The layers, the most sensitive first; overwrites `file`."""
        expected = _vectors(model, spec, pixels)
        cosine = {}
        for layer in self.layers:
            self.write(file, [layer])
            cosine[layer] = float((expected * _vectors(file, spec, pixels)).sum(axis=1).mean())
        return sorted(self.layers, key=cosine.__getitem__)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Images in batches, as ONNX Runtime's calibration takes them."""

    def __init__(self, pixels: Pixels) -> None:
        starts = range(0, len(pixels), CALIBRATION_BATCH)
        self.batches = iter([pixels[start : start + CALIBRATION_BATCH] for start in starts])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}


def _in_backbone(node: onnx.NodeProto) -> bool:
    return any(entry.key == SCOPES and BACKBONE in entry.value for entry in node.metadata_props)


def _vectors(file: Path, spec: Preprocessing, pixels: Pixels) -> Vectors:
    return OnnxEmbedder(file, spec, "cpu").in_batches(pixels)
