"""Selects the epoch whose encoder a run keeps, unless it keeps the last one.

After each epoch the encoder, without whitening, embeds a gallery and queries; the best by
recall@1 is stored in the run's `state/`. This is unbiased on a part of the training images that
is held out, and biased on the test images, which the released codes of LCR, PP-SSL and LoDisc
select on.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fgembed.config import RunConfig
from fgembed.disk.json_records import record
from fgembed.embedding.array_types import Labels
from fgembed.errors import ConfigError, FgembedError, IntegrityError
from fgembed.evaluation.floor_table import Selected
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.evaluation.protocol import EmbeddedSplit, Split
from fgembed.images.finding import class_names
from fgembed.model.encoder import Encoder
from fgembed.model.module_state import keep_modes
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.training.resuming.state_file import (
    load_trained,
    read_state_file,
    read_state_note,
    write_state_file,
)
from fgembed.workspace import RunFolder

RESTART = "start a new run"


class Selection:
    """Scores the encoder after each epoch and stores the best one.

    Attributes:
        best: the best epoch so far; None before the first one.
    """

    def __init__(
        self,
        encoder: Encoder,
        split: Split,
        config: RunConfig,
        run: RunFolder,
        device: torch.device,
        epochs_done: int = 0,
        fingerprint: str = "",
    ) -> None:
        """Goes on after `epochs_done` epochs of the run's checkpoint, with their best one.

        Args:
            encoder: is scored after each epoch.
            split: gallery and queries.
            config: the run's settings.
            run: the run's folder.
            device: where the encoder embeds.
            epochs_done: complete epochs in the checkpoint.
            fingerprint: a digest of what the training depends on.

        Raises:
            IntegrityError: the file of the best one is missing, damaged or of another training.
        """
        self.encoder = encoder
        self.split = split
        self.config = config
        self.file = run.best
        self.device = device
        self.fingerprint = fingerprint
        # Before the first epoch is in the checkpoint, a file is of a training that was dropped.
        self.best = self._read() if epochs_done else None

    def score_epoch(self, epoch: int) -> dict[str, float]:
        """Scores the encoder and stores it if it is better than all before.

        Draws no random numbers and leaves every module's mode as it is.

        Args:
            epoch: counted from 0.

        Returns:
            Recall@1 and precision@10 in 0..1, by their names in the log.
        """
        with keep_modes(self.encoder):
            embed = TorchEmbedder(self.encoder, self.config.preprocessing, self.device)
            split = EmbeddedSplit.embed(embed, self.split, self.config.max_bad)
            scores = split.scores()
        how: Literal["holdout", "test"] = "test" if self.config.select == "test" else "holdout"
        hits, precision = scores.recall[1], float(scores.precision_at_10.mean())
        scored = Selected(how, epoch + 1, float(hits.mean()), len(hits), precision)
        if self.best is None or scored.recall > self.best.recall:
            note = asdict(scored) | {"training": self.fingerprint}
            write_state_file(self.file, self.encoder.state_dict(), note)
            self.best = scored
        return {f"{how} recall@1": scored.recall, f"{how} precision@10": precision}

    def restore(self) -> Selected:
        """Loads the best epoch's weights into the encoder.

        Raises:
            IntegrityError: the file is missing, damaged or of another encoder.
        """
        assert self.best is not None  # invariant: a run that selects trains an epoch at least
        try:
            load_trained(self.encoder, read_state_file(self.file)[0])
        except RuntimeError:
            raise IntegrityError(f"{self.file} is of another encoder", RESTART) from None
        return self.best

    def _read(self) -> Selected:
        if not self.file.is_file():
            raise IntegrityError(
                f"{self.file} is missing, and with it the best epoch's encoder",
                f"restore it from a copy, or remove {self.file.parent} to train again from the "
                "start",
            )
        note = read_state_note(self.file)  # finds damage before more is trained
        if note.pop("training", self.fingerprint) != self.fingerprint:
            raise IntegrityError(
                f"{self.file} is of another training than {self.file.parent}",
                f"restore it from a copy, or remove {self.file.parent} to train again from the "
                "start",
            )
        try:
            return record(Selected, {"precision_at_10": None} | note)  # early notes lack it
        except ValueError as error:
            raise IntegrityError(f"{self.file} is of another fgembed: {error}", RESTART) from None


def check_selection(config: RunConfig, paths: Sequence[Path]) -> None:
    """Refuses a holdout of images that are not in class folders.

    Raises:
        ConfigError: naming the first such image, or that no class has two images.
    """
    if config.select == "holdout":
        held_out(_classes(config, paths), config.holdout_share, config.seed)


def selection_split(config: RunConfig, paths: Sequence[Path]) -> tuple[list[Path], Split | None]:
    """The images to train on, and the gallery and queries that score each epoch.

    Raises:
        ConfigError: see `check_selection`.
    """
    if config.select == "holdout":
        return _holdout(config, paths)
    if config.select == "test" and config.eval.gallery and config.eval.queries:
        folders = Path(config.eval.gallery), Path(config.eval.queries)
        return list(paths), Split.find(*folders, include_clutter=config.include_clutter)
    return list(paths), None


def _holdout(config: RunConfig, paths: Sequence[Path]) -> tuple[list[Path], Split]:
    """The images that are not held out, which are also the gallery, and the split."""
    root = Path(config.images or "")
    classes = _classes(config, paths)
    is_held_out = held_out(classes, config.holdout_share, config.seed)
    labels = dict(zip(paths, map(str, classes), strict=True))
    gallery = [path for path, is_out in zip(paths, is_held_out, strict=True) if not is_out]
    queries = [path for path, is_out in zip(paths, is_held_out, strict=True) if is_out]
    return gallery, Split(
        LabelledImages(root, queries, labels, []), LabelledImages(root, gallery, labels, [])
    )


def held_out(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """A share of the images, spread evenly over the classes: every (1 / share)th by class.

    Every class keeps at least one image in the gallery: one with a single image gives none
    away, and `share` is at most a half.

    Example:
        >>> held_out(np.array(["a", "a", "a", "a", "b"]), share=0.5, seed=0).sum()
        np.int64(2)

    Args:
        labels: (N,).
        share: in (0, 0.5].
        seed: of the choice within each class.

    Returns:
        Whether each image is held out, (N,).

    Raises:
        ConfigError: no class has two images.
    """
    generator = np.random.default_rng(seed)
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(inverse[shuffled], kind="stable")]
    eligible = by_class[counts[inverse[by_class]] > 1]
    if not len(eligible):
        raise ConfigError(
            f"select = 'holdout' searches images among others of their class, but none of "
            f"{len(names)} class folders holds two",
            "set select to 'last'",
        )
    first = generator.uniform(0, min(1 / share, len(eligible)))
    selected = np.arange(first, len(eligible), 1 / share).astype(int)
    is_held_out = np.zeros(len(labels), dtype=bool)
    is_held_out[eligible[selected]] = True
    return is_held_out


def _classes(config: RunConfig, paths: Sequence[Path]) -> Labels:
    try:
        return np.array(class_names(list(paths), Path(config.images or "")))
    except FgembedError as error:
        raise ConfigError(f"select = 'holdout': {error}", "or set select to 'last'") from None
