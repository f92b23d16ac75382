"""The folder that a user works in: where each command finds what the one before it wrote."""

from dataclasses import dataclass
from pathlib import Path

from fgembed.disk.files import read_json, read_toml
from fgembed.disk.latest import LATEST_NAME, followed
from fgembed.disk.text_files import at_home
from fgembed.errors import ConfigError, FgembedError, NotFoundError

CONFIG = Path("fgembed.toml")
RUNS = Path("runs")
LATEST = RUNS / LATEST_NAME
BUNDLE = Path("bundle")
INDEX = Path("gallery.index")
EMBEDDINGS = Path("embeddings")


def workspace_images(folder: Path = Path()) -> Path:
    """The folder of photographs that `fgembed.toml` names.

    Raises:
        NotFoundError: there is no `fgembed.toml`, or it names no folder.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise NotFoundError(
            f"no folder of photographs: there is no {file}",
            'give a folder, or make the file with "fgembed init PHOTOS"',
        )
    images = read_toml(file).get("images")
    if not isinstance(images, str | None):
        raise ConfigError(
            f"{file}: images is {images!r}, expected one path in quotes",
            f'set images = "PHOTOS" in {file}',
        )
    if images is None:
        raise NotFoundError(
            f"no folder of photographs: {file} names none",
            f'give a folder, or set images = "PHOTOS" in {file}',
        )
    return folder / at_home(images)


def workspace_includes_clutter(folder: Path = Path()) -> bool:
    """Whether `fgembed.toml` says that its images include clutter; False without the file."""
    file = folder / CONFIG
    return file.is_file() and read_toml(file).get("include_clutter") is True


@dataclass(frozen=True)
class EncoderFolder:
    """The two files of an encoder: of a run, or of its start.

    Attributes:
        path: the folder that holds them.
    """

    path: Path

    @property
    def description(self) -> Path:
        """What the encoder is made of."""
        return self.path / "encoder.json"

    @property
    def weights(self) -> Path:
        """Its tensors."""
        return self.path / "encoder.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """The files of a run: this class alone knows their names.

    Attributes:
        path: the run folder.

    Example:
        >>> RunFolder(Path("runs/lcr-1")).start.weights.as_posix()
        'runs/lcr-1/start/encoder.safetensors'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.toml"

    @property
    def encoder(self) -> EncoderFolder:
        """The trained encoder."""
        return EncoderFolder(self.path)

    @property
    def start(self) -> EncoderFolder:
        """The untouched start, calibrated: the highest floor."""
        return EncoderFolder(self.path / "start")

    @property
    def whitenings(self) -> Path:
        """The whitenings of the other floors."""
        return self.start.path / "whitenings.safetensors"

    @property
    def metrics(self) -> Path:
        """The training's figures, a JSON line for each report."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's events."""
        return self.path / "tensorboard"

    @property
    def images(self) -> Path:
        """The SHA-256 of every training image, by its path below the images' folder."""
        return self.path / "images.json"

    @property
    def skipped(self) -> Path:
        """The images that could not be read, with the reasons."""
        return self.path / "skipped.jsonl"

    @property
    def report(self) -> Path:
        """What a finished run found; it is written last."""
        return self.path / "report.json"

    @property
    def collapse(self) -> Path:
        """Why and when the training was stopped as collapsed; only such a run has it."""
        return self.path / "collapsed.json"

    def refuse_collapsed(self) -> None:
        """Refuses a run whose training was stopped as collapsed: it would collapse again.

        Raises:
            FgembedError: with the reason that the training gave.
        """
        if not self.collapse.is_file():
            return
        try:
            note = read_json(self.collapse, "note on a collapse")
            fact, remedy = str(note["fact"]), str(note["remedy"])
        except (FgembedError, KeyError, TypeError):
            fact, remedy = "the training has collapsed", "start a new run with other settings"
        raise FgembedError(f"{self.path} cannot be used or resumed: {fact}", remedy)

    @property
    def state(self) -> Path:
        """The folder of what resumes a training; without it the training starts again."""
        return self.path / "state"

    @property
    def checkpoint(self) -> Path:
        """Weights, optimisers, random numbers and position after the last saved step."""
        return self.state / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """The selected epoch's encoder so far, where a run selects one."""
        return self.state / "best.safetensors"


def find_run(name: str | None, folder: Path = Path()) -> Path:
    """The run folder `runs/<name>`, the folder at path `name`, or the latest run if None.

    Raises:
        NotFoundError: the folder does not exist, or holds no run.
        FgembedError: the run's training has collapsed.
    """
    run = _named_run(name, folder)
    RunFolder(run).refuse_collapsed()
    return run


def _named_run(name: str | None, folder: Path) -> Path:
    if name is None:
        run = followed(folder / LATEST)
        if not run.is_dir():
            raise NotFoundError(f"no run at {run}", 'make one with "fgembed train"')
        return run.resolve()
    for run in (followed(folder / RUNS / name), followed(folder / at_home(name))):
        if RunFolder(run).config.is_file():
            return run
        if run.is_dir():
            raise NotFoundError(
                f"{run} is no run: it holds no {RunFolder(run).config.name}",
                'give the name of a run that "fgembed train" began, or its folder',
            )
    raise NotFoundError(f"no run {name!r} in {folder / RUNS}", 'make one with "fgembed train"')
