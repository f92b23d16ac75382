"""Which of several equal files is which, after a move: names tell, where content does not."""

from collections.abc import Sequence
from pathlib import Path


def by_longest_tail(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs former and present paths of equal files; those with the longest common end first.

    Example:
        >>> by_longest_tail(["/a/1.jpg", "/a/2.jpg"], ["/b/2.jpg", "/b/c/1.jpg", "/b/3.jpg"])
        [('/a/1.jpg', '/b/c/1.jpg'), ('/a/2.jpg', '/b/2.jpg')]
    """
    left, present = sorted(old), sorted(new)
    pairs: list[tuple[str, str]] = []
    longest = max((name.count("/") for name in left), default=0) + 1
    for length in range(longest, -1, -1):
        waiting: dict[str, list[str]] = {}
        for name in reversed(left):
            waiting.setdefault(_end(name, length), []).append(name)
        for name in present:
            if candidates := waiting.get(_end(name, length)):
                pairs.append((candidates.pop(), name))
        done = {name for pair in pairs for name in pair}
        left = [name for name in left if name not in done]
        present = [name for name in present if name not in done]
        if not left or not present:
            break
    return sorted(pairs)


def _end(path: str, length: int) -> str:
    """The last names of a path, `length` of them."""
    return "/".join(Path(path).parts[-length:]) if length else ""
