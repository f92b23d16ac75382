"""Batches of training views in an order that a resumed run continues exactly.

The order of an epoch depends on (seed, epoch) only, and the views of an image on (seed, epoch,
index) only. So neither the number of workers nor an interruption changes the training.
"""

import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fgembed.data.batch_transport import LoaderLost, batches_of_processes, pinned, stacked
from fgembed.data.views import Positioned, ViewMaker
from fgembed.errors import ConfigError, FgembedError, ImageError
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing, made_grey

ImageKey = tuple[int, int]  # epoch, index of the image


class TrainingImages(Dataset[list[Tensor]]):
    """Random views of each image, by (epoch, index).

    An image that has become unreadable since the survey is replaced by the next one, whose
    position then is the one that a `Positioned` view maker gets.
    """

    def __init__(
        self, paths: Sequence[Path], view_maker: ViewMaker, spec: Preprocessing, seed: int
    ) -> None:
        self.paths = paths
        self.view_maker = view_maker
        self.at_least = spec.draft * spec.size
        self.reading = spec.version
        self.grey = spec.grey
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, keys: Sequence[ImageKey]) -> list[list[Tensor]] | Exception:
        """The views of a batch, or the error: torch changes one that a loader process raises."""
        try:
            return [self[key] for key in keys]
        except Exception as error:
            if not isinstance(error, FgembedError):
                error.add_note(traceback.format_exc())
            return error

    def __getitem__(self, key: ImageKey) -> list[Tensor]:
        """The views, each (3, side, side) normalised, and the position () if it is asked for.

        Raises:
            ConfigError: no image can be read.
        """
        epoch, first = key
        for offset in range(len(self.paths)):
            index = (first + offset) % len(self.paths)
            try:
                image = load_rgb(self.paths[index], self.at_least, self.reading)
            except ImageError:
                continue
            if self.grey:
                image = made_grey(image)
            with torch.random.fork_rng(devices=[]):
                # The CPU's only: `torch.manual_seed` would also set the GPU's, for good.
                torch.default_generator.manual_seed(_derived_seed(self.seed, epoch, index))
                views = self.view_maker(image)
            positioned = isinstance(self.view_maker, Positioned)
            return [*views, torch.tensor(index)] if positioned else views
        raise ConfigError(
            "no training image can be read any more",
            "restore the folder of images, then resume the run",
        )


class EpochBatches(Sampler[list[ImageKey]]):
    """Shuffled batches of all epochs from step `start` on; incomplete batches are dropped.

    Example:
        >>> batches = list(EpochBatches(count=4, batch_size=2, epochs=2, seed=0, start=0))
        >>> [epoch for (epoch, _), _ in batches]
        [0, 0, 1, 1]
        >>> list(EpochBatches(count=4, batch_size=2, epochs=2, seed=0, start=3)) == batches[3:]
        True
    """

    def __init__(self, count: int, batch_size: int, epochs: int, seed: int, start: int) -> None:
        require_full_batch(count, batch_size)
        self.count = count
        self.batch_size = batch_size
        self.steps_per_epoch = count // batch_size
        self.last = epochs * self.steps_per_epoch
        self.seed = seed
        self.start = start

    def __len__(self) -> int:
        return self.last - self.start

    def __iter__(self) -> Iterator[list[ImageKey]]:
        order: list[int] = []
        for step in range(self.start, self.last):
            epoch, position = divmod(step, self.steps_per_epoch)
            if position == 0 or not order:
                generator = torch.Generator().manual_seed(_derived_seed(self.seed, epoch))
                order = torch.randperm(self.count, generator=generator).tolist()
            first = position * self.batch_size
            yield [(epoch, index) for index in order[first : first + self.batch_size]]


def require_full_batch(count: int, batch_size: int) -> None:
    """Checks that an epoch has at least one step.

    Raises:
        ConfigError: there are fewer images than a batch holds.
    """
    if count < batch_size:
        raise ConfigError(
            f"{count} images do not fill a batch of {batch_size}",
            "lower optimiser.batch_size or add images",
        )


def make_loader(
    images: TrainingImages, batches: Iterable[list[ImageKey]], workers: int, ahead: int = 4
) -> Iterator[list[Tensor]]:
    """Loads batches of views, each view (B, 3, side, side), and (B) positions if asked for.

    Where loader processes cannot be started, or one is lost, fewer go on with the same batches,
    and in the end this process alone; a warning says so.

    Args:
        images: gives the views.
        batches: the keys of each batch, in order; it can be iterated again.
        workers: number of loader processes; 0 loads in this process.
        ahead: number of batches that each worker prefetches.

    Raises:
        ConfigError: no image can be read.
        FgembedError: a loader process hangs.
    """
    delivered, shares = 0, True
    while workers:
        keys_left = islice(batches, delivered, None)
        try:
            for views in batches_of_processes(images, keys_left, workers, ahead, shares):
                delivered += 1
                yield views
            return
        except LoaderLost as loss:
            workers, shares = loss.remaining, loss.shares
            rest = f"with {workers}" if workers else "without any"
            warnings.warn(f"{loss}; going on {rest}", RuntimeWarning, stacklevel=2)
    for keys in islice(batches, delivered, None):
        yield pinned(stacked([images[key] for key in keys]))


def _derived_seed(seed: int, *key: int) -> int:
    """A 64-bit seed for `key` = (epoch,) or (epoch, index), unrelated to those of other keys."""
    # A spawn key and not more entropy: numpy pads entropy with zeros, so (epoch,) = (epoch, 0).
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])
