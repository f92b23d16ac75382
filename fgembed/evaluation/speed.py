"""How fast an encoder is on one machine; a figure that is told and never compared."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Speed:
    """Images a second on one machine: the median of several rounds, and their quartiles.

    Example:
        >>> Speed.of(8, [0.1, 0.1, 0.2]).cell()
        '80 [60, 80]'
    """

    images_per_s: float
    low: float
    high: float

    @classmethod
    def of(cls, images: int, seconds: Sequence[float]) -> Self:
        """The speed of so many images in each of two or more rounds."""
        rates = [images / duration for duration in seconds]
        lower, median, upper = statistics.quantiles(rates, n=4, method="inclusive")
        return cls(median, lower, upper)

    @property
    def milliseconds(self) -> float:
        """Of one image."""
        return 1000 / self.images_per_s

    def short(self) -> str:
        """`61`."""
        return _figure(self.images_per_s)

    def cell(self) -> str:
        """`61 [58, 63]`."""
        return f"{self.short()} [{_figure(self.low)}, {_figure(self.high)}]"


def _figure(rate: float) -> str:
    """Whole images, and below ten a digit more: the rounds differ by more."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
