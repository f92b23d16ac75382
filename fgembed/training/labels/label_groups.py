"""The labels of a run, once their images are opened and checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fgembed.config import RunConfig
from fgembed.cores import core_count
from fgembed.disk.files import digest, sha256
from fgembed.errors import ConfigError, FgembedError
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.images.batches import prefetch, split_readable
from fgembed.images.skipped import Skipped, check_bad
from fgembed.training.labels.groups import without_copies
from fgembed.training.labels.source import listed


@dataclass(frozen=True)
class LabelCounts:
    """How many labels a run was fitted with; of its report.

    Attributes:
        images: that can be read, of each content one.
        classes: of them; of pairs, the groups that pairs of the same thing join.
        skipped: labelled images that cannot be read.
        same: pairs of the same thing; 0 for classes.
        different: pairs of different things, which are checked against the others and not used.
    """

    images: int
    classes: int
    skipped: int
    same: int = 0
    different: int = 0

    def sentence(self) -> str:
        """The counts in one line.

        Example:
            >>> LabelCounts(images=20, classes=4, skipped=1).sentence()
            'labels: 20 images in 4 classes; 1 cannot be read'
        """
        text = f"labels: {self.images} images in {self.classes} classes"
        if self.same:
            text = f"labels: {self.same} pairs of the same thing join {self.images} images"
        if self.different:
            text += f"; {self.different} pairs of different things are only checked"
        if self.skipped:
            text += f"; {self.skipped} cannot be read"
        return text


@dataclass(frozen=True)
class LabelGroups:
    """Labelled images that can be read.

    Attributes:
        groups: at least two images of each class.
        skipped: images that cannot be read.
        counts: for the report.
        checksums: SHA-256 of the images in `groups`.
    """

    groups: list[list[Path]]
    skipped: list[Skipped]
    counts: LabelCounts
    checksums: Mapping[Path, str]

    @property
    def content(self) -> str:
        """A digest of what the images of each group hold."""
        checksums = self.checksums
        return digest(sorted(sorted(checksums[path] for path in group) for group in self.groups))

    def numbers_of(self, paths: Sequence[Path]) -> tuple[list[int], list[Path]]:
        """The group of each image, by content, and the labelled images that are none of them.

        Args:
            paths: of images; -1 for one without a label, and for further copies of one.

        Returns:
            Numbers of groups, as many as `paths`, and further paths, by content in order.
        """
        waiting = {
            self.checksums[path]: (number, path)
            for number, group in enumerate(self.groups)
            for path in group
        }
        candidates = same_sized(paths, self.checksums)
        checksums = prefetch(sha256, candidates, core_count(), 64)
        known = dict(zip(candidates, checksums, strict=True))
        numbers = [waiting.pop(known.get(path, ""), (-1, path))[0] for path in paths]
        return numbers, [path for _, (_, path) in sorted(waiting.items())]

    @classmethod
    def of(cls, config: RunConfig) -> "LabelGroups | None":
        """The labels that the settings name, if any; each image is decoded once.

        Raises:
            ConfigError: the encoder has no last layer.
            FgembedError: the labels cannot be read, contradict each other or are too few.
        """
        if config.labels is None:
            return None
        if not config.pooling.whitening:
            raise ConfigError(
                "labels change the last layer, and pooling.whitening is 0",
                "set pooling.whitening to its dimensions, such as 512, or leave the labels out",
            )
        source = Path(config.labels)
        listing = listed(source, Path(config.images or ""), config.include_clutter)
        is_pairs = any(listing.pairs)
        paths = list(dict.fromkeys(path for group in listing.groups.values() for path in group))
        _require(len(listing.groups) > (0 if is_pairs else 1), source, is_pairs)
        spec = config.preprocessing
        readable, bad = split_readable(paths, spec.draft * spec.size, core_count(), spec.version)
        skipped = [*listing.skipped, *bad]
        check_bad(skipped, len(readable) + len(skipped), config.max_bad)
        content = dict(zip(readable, prefetch(sha256, readable, core_count(), 64), strict=True))
        _refuse_queries(config, content)
        opened = {n: [p for p in group if p in content] for n, group in listing.groups.items()}
        distinct = without_copies(opened, content)
        counts = LabelCounts(
            images=sum(map(len, distinct.values())),
            classes=sum(map(bool, distinct.values())),
            skipped=len(skipped),
            same=listing.pairs[0],
            different=listing.pairs[1],
        )
        groups = [group for group in distinct.values() if len(group) > 1]
        _require(counts.classes > (0 if is_pairs else 1) and bool(groups), source, is_pairs)
        checksums = {path: content[path] for group in groups for path in group}
        return cls(groups, skipped, counts, checksums)


def same_sized(paths: Iterable[Path], others: Iterable[Path]) -> list[Path]:
    """Those of the paths whose files may be copies of others: as many bytes."""
    sizes = {path.stat().st_size for path in others if path.is_file()}
    return [path for path in paths if path.is_file() and path.stat().st_size in sizes]


def _require(enough: bool, source: Path, is_pairs: bool) -> None:
    if enough:
        return
    if is_pairs:
        raise FgembedError(
            f"{source} has no pair of two images of the same thing that can be read",
            "add some pairs with 1 as `same`",
        )
    raise FgembedError(
        f"the images of {source} that can be read are of one class, or no two of one class differ",
        "give two images or more of each of two classes or more",
    )


def _refuse_queries(config: RunConfig, content: Mapping[Path, str]) -> None:
    """Refuses labelled images that the run is judged on: the guard would believe its own labels.

    Raises:
        ConfigError: naming the first one.
    """
    if config.eval.queries is None:
        return
    queries = LabelledImages.find(Path(config.eval.queries), config.include_clutter).paths
    candidates = same_sized(queries, content)
    queried = dict(zip(prefetch(sha256, candidates, core_count(), 64), candidates, strict=True))
    both = [path for path, checksum in content.items() if checksum in queried]
    if both:
        raise ConfigError(
            f"{len(both)} labelled images are among the queries in {config.eval.queries}, the "
            f"first {both[0]}, and scores on them would flatter the run",
            "leave them out of the labels, or out of the queries",
        )
