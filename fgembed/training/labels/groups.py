"""Images that show the same thing, joined from classes or judged pairs."""

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path

from fgembed.errors import FgembedError

Pair = tuple[Path, Path]


def joined(same: Iterable[Pair]) -> list[list[Path]]:
    """The groups of images that pairs of the same thing join.

    Example:
        >>> a, b, c, d, e = map(Path, "abcde")
        >>> [[str(path) for path in group] for group in joined([(a, b), (c, d), (e, b)])]
        [['e', 'a', 'b'], ['c', 'd']]
    """
    groups: dict[Path, list[Path]] = {}
    for first, second in same:
        former, latter = groups.setdefault(first, [first]), groups.setdefault(second, [second])
        if former is not latter:
            former += latter
            groups |= dict.fromkeys(latter, former)
    return list({id(group): group for group in groups.values()}.values())


def check_different(groups: Iterable[list[Path]], different: Iterable[Pair]) -> None:
    """Refuses pairs of different things that other pairs say are the same.

    Raises:
        FgembedError: naming the first such pair.
    """
    number = {path: position for position, group in enumerate(groups) for path in group}
    for first, second in different:
        if first == second or (first in number and number[first] == number.get(second)):
            raise FgembedError(
                f"{first} and {second} are a pair of different things, and the pairs of the same "
                "thing join them",
                "correct one of the pairs",
            )


def without_copies(
    groups: Mapping[str, list[Path]], content: Mapping[Path, Hashable]
) -> dict[str, list[Path]]:
    """The groups with one file of each content.

    Args:
        groups: images by class.
        content: what tells the content of a file.

    Raises:
        FgembedError: files of one content lie in two classes; names the first ones.
    """
    seen: dict[Hashable, tuple[Path, str]] = {}
    distinct: dict[str, list[Path]] = {name: [] for name in groups}
    for name, paths in groups.items():
        for path in paths:
            former, its_class = seen.setdefault(content[path], (path, name))
            if its_class != name:
                raise FgembedError(
                    f"the image {path} of class {name!r} is also labelled {its_class!r}, as "
                    f"{former}",
                    "keep it in one class",
                )
            if former is path:
                distinct[name].append(path)
    return distinct
