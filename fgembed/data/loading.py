"""Training pictures in an order that a resumed run continues exactly.

The order of an epoch depends on (seed, epoch) alone and a picture's views on (seed, epoch,
picture) alone, so neither the number of workers nor an interruption changes what is seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fgembed.data.views import ViewMaker
from fgembed.errors import ConfigError, ImageError
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing

Key = tuple[int, int]  # epoch, index of the picture


class TrainingImages(Dataset[list[Tensor]]):
    """Random views of each picture, by (epoch, index)."""

    def __init__(
        self, paths: Sequence[Path], view_maker: ViewMaker, spec: Preprocessing, seed: int
    ) -> None:
        self.paths = paths
        self.view_maker = view_maker
        self.at_least = spec.draft * spec.size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Key) -> list[Tensor]:
        """The views; a picture that went bad since the survey is replaced by the next one."""
        epoch, index = key
        for offset in range(len(self.paths)):
            chosen = (index + offset) % len(self.paths)
            try:
                image = load_rgb(self.paths[chosen], self.at_least)
            except ImageError:
                continue
            with torch.random.fork_rng(devices=[]):
                # The CPU's alone: `torch.manual_seed` would set the GPU's too, and leave them set.
                torch.default_generator.manual_seed(_mix(self.seed, epoch, chosen))
                return self.view_maker(image)
        raise ConfigError("no training picture can be read any more", "was the folder moved?")


class EpochBatches(Sampler[list[Key]]):
    """Shuffled batches of every epoch from a given step on; the last incomplete one is dropped."""

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

    def __iter__(self) -> Iterator[list[Key]]:
        order: list[int] = []
        for step in range(self.start, self.last):
            epoch, position = divmod(step, self.steps_per_epoch)
            if position == 0 or not order:
                generator = torch.Generator().manual_seed(_mix(self.seed, epoch, -1))
                order = torch.randperm(self.count, generator=generator).tolist()
            first = position * self.batch_size
            yield [(epoch, index) for index in order[first : first + self.batch_size]]


def require_full_batch(count: int, batch_size: int) -> None:
    """Refuses a training without a single step.

    Raises:
        ConfigError: there are fewer pictures than a batch holds.
    """
    if count < batch_size:
        raise ConfigError(
            f"{count} pictures do not fill a batch of {batch_size}",
            "lower optimiser.batch_size or add pictures",
        )


def make_loader(
    images: TrainingImages, batches: Iterable[list[Key]], workers: int, ahead: int = 4
) -> DataLoader[list[Tensor]]:
    """A loader of view batches; workers run one torch thread each, so that they do not crowd.

    Args:
        images: gives the views.
        batches: which, in what order.
        workers: loader processes; 0 for none.
        ahead: batches that each worker holds ready.
    """
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=ahead if workers else None,
        # A loader draws from its generator when it starts; from the global one, that would set
        # the random numbers of a resumed run one draw apart from those of a whole one.
        generator=torch.Generator(),
    )


def _mix(seed: int, epoch: int, index: int) -> int:
    """One 63-bit seed from three numbers (splitmix64 steps), so that near keys are unrelated."""
    state = 0
    for part in (seed, epoch, index):
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
