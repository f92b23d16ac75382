"""Which epoch's encoder a run keeps, where it is not simply the last.

After each epoch the encoder as it is, without whitening, looks pictures up; the best by
recall@1 is kept in `state/best.safetensors`. Honest on a slice of the training pictures that is
kept out of the training; biased on the test pictures, where the released codes of LCR, PP-SSL
and LoDisc select.
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
from fgembed.evaluation.protocol import EmbeddedSplit, LabelledImages, Split
from fgembed.images.finding import class_names
from fgembed.model.encoder import Encoder
from fgembed.model.module_state import keep_modes
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors
from fgembed.model.torch_embedder import TorchEmbedder

BEST_FILE = Path("state") / "best.safetensors"


class Selection:
    """Scores the encoder after each epoch and keeps the best one on disk."""

    def __init__(
        self,
        encoder: Encoder,
        split: Split,
        config: RunConfig,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.encoder = encoder
        self.split = split
        self.config = config
        self.file = folder / BEST_FILE
        self.device = device
        self.best = self._read() if self.file.is_file() else None

    def epoch_ended(self, epoch: int) -> dict[str, float]:
        """Scores the encoder; it becomes the best one only if it is better than all before.

        Draws no random numbers and leaves every module's mode as it is.

        Args:
            epoch: counted from 0.
        """
        with keep_modes(self.encoder):
            embed = TorchEmbedder(self.encoder, self.config.preprocessing, self.device)
            right = EmbeddedSplit.embed(embed, self.split, self.config.max_bad).scores().recall[1]
        how: Literal["holdout", "test"] = "test" if self.config.select == "test" else "holdout"
        found = Selected(how, epoch + 1, float(right.mean()), len(right))
        if self.best is None or found.recall > self.best.recall:
            write_tensors(self.file, self.encoder.state_dict(), asdict(found))
            self.best = found
        return {f"{how} recall@1": found.recall}

    def restore(self) -> Selected:
        """Gives the encoder the best epoch's weights.

        Raises:
            IntegrityError: the file is missing, damaged or of another encoder.
        """
        if self.best is None:
            raise IntegrityError(
                f"{self.file} is missing, and with it the best epoch's encoder", "start a new run"
            )
        try:
            self.encoder.load_state_dict(read_tensors(self.file))
        except RuntimeError:
            raise IntegrityError(f"{self.file} is of another encoder", "start a new run") from None
        return self.best

    def _read(self) -> Selected:
        read_tensors(self.file)  # damage is found before more is trained
        try:
            return record(Selected, read_note(self.file))
        except ValueError as error:
            raise IntegrityError(f"{self.file} is damaged: {error}") from None


def check_selection(config: RunConfig, found: Sequence[Path]) -> None:
    """Refuses a holdout of pictures that are not in class folders.

    Raises:
        ConfigError: naming the first such picture, or that no class has two pictures.
    """
    if config.select == "holdout":
        held_out(_classes(config, found), config.holdout_share, config.seed)


def parted(config: RunConfig, paths: Sequence[Path]) -> tuple[list[Path], Split | None]:
    """The pictures to train on, and what is looked up in what after each epoch.

    Raises:
        ConfigError: see `check_selection`.
    """
    if config.select == "holdout":
        root = Path(config.images or "")
        labels = _classes(config, paths)
        out = held_out(labels, config.holdout_share, config.seed)
        named = dict(zip(paths, map(str, labels), strict=True))
        kept = [path for path, is_out in zip(paths, out, strict=True) if not is_out]
        asked = [path for path, is_out in zip(paths, out, strict=True) if is_out]
        return kept, Split(
            LabelledImages(root, asked, named, []), LabelledImages(root, kept, named, [])
        )
    if config.select == "test" and config.eval.gallery and config.eval.queries:
        return list(paths), Split.find(Path(config.eval.gallery), Path(config.eval.queries))
    return list(paths), None


def held_out(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """A share of the pictures, spread evenly over the classes: every (1 / share)th by class.

    A class keeps at least one picture to be found, so that one with a single picture gives
    none away; a share of at most a half sees to the others.

    Args:
        labels: (N,).
        share: in (0, 0.5].
        seed: of the choice within each class.

    Raises:
        ConfigError: no class has two pictures.
    """
    generator = np.random.default_rng(seed)
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(inverse[shuffled], kind="stable")]
    eligible = by_class[counts[inverse[by_class]] > 1]
    if not len(eligible):
        raise ConfigError(
            f"select = 'holdout' looks pictures up among others of their class, and none of "
            f"{len(names)} class folders holds two",
            "set select to 'last'",
        )
    first = generator.uniform(0, min(1 / share, len(eligible)))
    chosen = np.arange(first, len(eligible), 1 / share).astype(int)
    out = np.zeros(len(labels), dtype=bool)
    out[eligible[chosen]] = True
    return out


def _classes(config: RunConfig, paths: Sequence[Path]) -> Labels:
    try:
        return np.array(class_names(list(paths), Path(config.images or "")))
    except FgembedError as error:
        raise ConfigError(f"select = 'holdout': {error}", "or set select to 'last'") from None
