"""No training: the start itself, read at several levels and whitened. The baseline as a method."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fgembed.backbones import Backbone
from fgembed.methods.base import Method
from fgembed.model.encoder import best_pooling


class Untrained(Method):
    """Trains nothing; the run goes straight to whitening, scores and export."""

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """That of the calibrated start, so that the run equals this floor."""
        return best_pooling(backbone).kind

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """No terms."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """No groups."""
        return []
