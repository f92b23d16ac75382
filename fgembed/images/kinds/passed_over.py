"""How much clutter was passed over, and how it is told."""

from collections import Counter
from dataclasses import dataclass, field

from fgembed.text import showable

OPTION = "--include-clutter"
MAX_LABELS = 4  # in a message


@dataclass
class PassedOver:
    """Images that are passed over as clutter.

    Attributes:
        counts: how many, by what they lie in or are called.
        is_complete: whether all were counted; there may be copies of a library many times over.

    Example:
        >>> print(PassedOver(Counter({"@eaDir": 40, ".thumbnails": 2})).sentence())
        passed over 42 images that systems and programs left (@eaDir, .thumbnails); \
--include-clutter reads them
    """

    counts: Counter[str] = field(default_factory=Counter)
    is_complete: bool = True

    @property
    def images(self) -> int:
        """How many images were passed over."""
        return self.counts.total()

    def add(self, other: "PassedOver") -> None:
        """Counts those of another folder or tar file too."""
        self.counts += other.counts
        self.is_complete = self.is_complete and other.is_complete

    def sentence(self, option: str = OPTION) -> str:
        """The count and the names, those with the most images first."""
        labels = [label for label, _ in self.counts.most_common()]
        hidden = len(labels) - MAX_LABELS
        names = ", ".join(labels[:MAX_LABELS]) + (f" and {hidden} more" if hidden > 0 else "")
        count, them = ("1 image", "it") if self.images == 1 else (f"{self.images} images", "them")
        at_least = "" if self.is_complete else "more than "
        return (
            f"passed over {at_least}{count} that systems and programs left ({showable(names)}); "
            f"{option} reads {them}"
        )
