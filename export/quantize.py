"""The exported graph in int8, by static QDQ, for CPUs.

Only the backbone is changed. What comes before and after it (normalisation, pooling, whitening)
is little work and sums many numbers, so it stays in float32.
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

BACKBONE = "encoder.backbone"  # of PixelEncoder, in the names of the modules that nodes are of
LAYERS = ("Conv", "MatMul", "Gemm")
FUSED = ("Relu", "Clip")  # ONNX Runtime makes them part of the layer before, if both are int8
PASSING = ("Add", "MaxPool")  # between convolutions; a transformer's sums need their float range
CALIBRATION_BATCH = 8
SAMPLE = 32  # pictures on which one layer's harm is measured
MIN_PICTURES = 20


@dataclass(frozen=True)
class Quantised:
    """An int8 file that was written.

    Attributes:
        layers: how many compute in int8.
        in_float: those left in float32, the most sensitive first.
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

    First all of them; while the drop is too large, the most sensitive one, two, four, ... and last
    half of them stay in float. Sensitive is a layer that, alone in int8, turns the vectors most.

    Args:
        model: the float32 file.
        file: what is written.
        spec: its preprocessing.
        calibration: pictures that give the ranges of activations, (N, size, size, 3) uint8.
        judge: measures the drop.
        max_drop: the limit, in points of percent.
        report_stage: takes a line on each file that is judged.

    Raises:
        FgembedError: no file keeps the limit, or the pictures are too few; none is left there.
    """
    if len(calibration) < MIN_PICTURES:
        raise FgembedError(
            f"int8 is calibrated and judged on pictures, and {len(calibration)} are too few for "
            "that",
            f"give at least {MIN_PICTURES}, or leave int8 out of --precision",
        )
    quantiser = _Quantiser(model, file.with_suffix(".ranges"), calibration)
    order, drops = quantiser.layers, list[Drop]()
    try:
        for kept in _counts(len(order) // 2):
            quantiser.write(file, order[kept:])
            drops.append(judge(file))
            report_stage(
                f"int8 in {len(order) - kept} of {len(order)} layers: {drops[-1].sentence()}"
            )
            if drops[-1].points <= max_drop:
                return Quantised(len(order) - kept, order[:kept], drops[-1])
            if kept == 0:
                report_stage("looking for the layers that int8 harms most")
                order = quantiser.by_sensitivity(model, file, spec, calibration[:SAMPLE])
        file.unlink()
    finally:
        quantiser.ranges.unlink(missing_ok=True)
    least = min(drops, key=lambda drop: drop.points)
    hint = "" if least.measure == "recall@1" else ", judge it by recall@1 with --gallery, --queries"
    raise FgembedError(
        f"no int8 model is within {max_drop:g} points: at best {least.sentence()}, although up to "
        f"{len(order) // 2} of {len(order)} layers stayed in float",
        "leave int8 out of --precision"
        f"{hint}, or allow more with --max-drop {math.ceil(10 * least.points) / 10:g}",
    )


def _counts(most: int) -> list[int]:
    """0, 1, 2, 4, ... and `most`."""
    powers = [2**power for power in range(most.bit_length())]
    return sorted({0, most, *powers})


class _Quantiser:
    """Writes a graph with chosen layers in int8; calibrated once."""

    def __init__(self, model: Path, ranges: Path, calibration: Pixels) -> None:
        self.graph = onnx.load(model)
        self.ranges = ranges
        self.calibration = calibration
        nodes = [node for node in self.graph.graph.node if _in_backbone(node)]
        weights = {tensor.name for tensor in self.graph.graph.initializer}
        self.layers = [
            node.name for node in nodes if node.op_type in LAYERS and node.input[1] in weights
        ]
        made_by = {output: node.name for node in nodes for output in node.output}
        self.fused = {
            node.name: made_by.get(node.input[0]) for node in nodes if node.op_type in FUSED
        }
        has_norms = any(node.op_type == "LayerNormalization" for node in nodes)
        self.passing = [] if has_norms else [n.name for n in nodes if n.op_type in PASSING]

    def write(self, file: Path, layers: Collection[str]) -> None:
        """Writes the file with these layers in int8, and what passes from one to the other."""
        chosen = {*layers, *(self.passing if len(layers) > 1 else [])}
        chosen |= {name for name, before in self.fused.items() if before in chosen}
        logging.disable(logging.WARNING)  # it suggests what is done here already
        try:
            quantize_static(
                onnx.ModelProto.FromString(self.graph.SerializeToString()),  # it changes its input
                file,
                _Reader(self.calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*LAYERS, *FUSED, *PASSING],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[n.name for n in self.graph.graph.node if n.name not in chosen],
                extra_options={"MatMulConstBOnly": True},
                calibration_cache_path=self.ranges,
            )
        finally:
            logging.disable(logging.NOTSET)

    def by_sensitivity(
        self, model: Path, file: Path, spec: Preprocessing, pixels: Pixels
    ) -> list[str]:
        """The layers, first those that alone in int8 turn the vectors most; uses `file`."""
        expected = _vectors(model, spec, pixels)
        cosine = {}
        for layer in self.layers:
            self.write(file, [layer])
            cosine[layer] = float((expected * _vectors(file, spec, pixels)).sum(axis=1).mean())
        return sorted(self.layers, key=cosine.__getitem__)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Pictures in batches, as ONNX Runtime's calibration takes them."""

    def __init__(self, pixels: Pixels) -> None:
        starts = range(0, len(pixels), CALIBRATION_BATCH)
        self.batches = iter([pixels[start : start + CALIBRATION_BATCH] for start in starts])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}


def _in_backbone(node: onnx.NodeProto) -> bool:
    return any(note.key == SCOPES and BACKBONE in note.value for note in node.metadata_props)


def _vectors(file: Path, spec: Preprocessing, pixels: Pixels) -> Vectors:
    return OnnxEmbedder(file, spec, "cpu").in_batches(pixels)
