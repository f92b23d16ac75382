"""What was measured of one ONNX file of a bundle."""

from dataclasses import dataclass
from typing import Any

from fgembed.export.parity import Parity
from fgembed.export.precision_loss import Drop
from fgembed.export.quantize import Quantised


@dataclass(frozen=True)
class FileReport:
    """One ONNX file of a bundle, as it was measured.

    Attributes:
        parity: against torch.
        drop: against the float32 file, of one in fewer bits.
        quantised: of an int8 file.
        recall: recall@1 on the labelled images, in 0..1, if there are any.
    """

    parity: Parity
    drop: Drop | None = None
    quantised: Quantised | None = None
    recall: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of the file in `parity.json`."""
        content = self.parity.to_json() | {"recall@1": self.recall}
        if self.drop is not None:
            content["drop"] = self.drop.to_json()
        if self.quantised is not None:
            content["int8_layers"] = self.quantised.layers
            content["float_layers"] = self.quantised.in_float
        return content
