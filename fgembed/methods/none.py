"""No training: the start itself, read by GeM and whitening. The floor as a method."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fgembed.methods.base import Method


class Untrained(Method):
    """Has nothing to train; the run goes straight to whitening, scores and export."""

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """No terms."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """No groups."""
        return []
