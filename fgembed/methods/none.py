"""No training: the start itself, read at several levels and whitened. The floor as a method."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fgembed.backbones import Backbone
from fgembed.methods.base import Method
from fgembed.model.encoder import best_pooling


class Untrained(Method):
    """Has nothing to train; the run goes straight to whitening, scores and export."""

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """That of the second floor, so that the run is the floor itself."""
        return best_pooling(backbone).kind

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """No terms."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """No groups."""
        return []
