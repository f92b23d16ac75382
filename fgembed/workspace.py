"""The folder a user works in: where each command finds what the last one made."""

from dataclasses import dataclass
from pathlib import Path

from fgembed.disk.files import read_toml, write_text
from fgembed.errors import FgembedError, NotFoundError

CONFIG = Path("fgembed.toml")
RUNS = Path("runs")
LATEST = RUNS / "latest"
BUNDLE = Path("bundle")
INDEX = Path("gallery.index")
EMBEDDINGS = Path("embeddings")


@dataclass(frozen=True)
class Template:
    """What `fgembed init` writes: the photographs' folder and nothing a user must edit."""

    images: str

    def text(self) -> str:
        """The commented file, as TOML."""
        return f"""\
# fgembed workspace. Each setting can also be given as a flag or with --set table.key=value;
# what is not here comes from the recipe (`fgembed train --help` names them) and its defaults.

images = {_quoted(self.images)}    # photographs to learn from and to search; no labels needed

# recipe = "default"               # or moco, lcr, synpair, ...; none: no training, a fair start

[backbone]
# name = "torchvision/resnet50"    # on a CPU: "torchvision/mobilenet_v2"
# weights = "imagenet"             # downloads once; or a .safetensors/.pt file, or "random"

[preprocessing]
# size = 224                       # side of the input in pixels; 112 to 160 is faster on a CPU

[eval]
# If some pictures are labelled (<folder>/<class>/<picture>), training ends with a table of
# scores beside those of the untouched start. The same folder twice means leave-one-out.
# gallery = "photos/train"
# queries = "photos/test"
"""


def write_template(folder: Path, images: Path) -> Path:
    """Writes `fgembed.toml` into `folder`.

    Raises:
        FgembedError: there is one already.
    """
    file = folder / CONFIG
    if file.exists():
        raise FgembedError(f"{file} exists", "edit it, or remove it to start anew")
    write_text(file, Template(str(images)).text())
    return file


def workspace_images(folder: Path = Path()) -> Path:
    """The photographs' folder that `fgembed.toml` names.

    Raises:
        NotFoundError: there is no `fgembed.toml`, or it names no folder.
    """
    file = folder / CONFIG
    images = read_toml(file).get("images") if file.is_file() else None
    if not isinstance(images, str):
        raise NotFoundError(
            f'no folder of pictures: give one, or name it in {file} with "fgembed init PHOTOS"'
        )
    return folder / images


def find_run(name: str | None, folder: Path = Path()) -> Path:
    """The run folder `runs/<name>`, a path to one, or the latest.

    Raises:
        NotFoundError: there is none.
    """
    if name is None:
        run = folder / LATEST
        if not run.is_dir():
            raise NotFoundError(f"no run at {run}", 'make one with "fgembed train"')
        return run.resolve()
    for run in (folder / RUNS / name, folder / name):
        if run.is_dir():
            return run
    raise NotFoundError(f"no run {name!r} in {folder / RUNS}", 'make one with "fgembed train"')


def new_run_name(method: str, folder: Path = Path()) -> str:
    """The first free name of the form `<method>-<number>`."""
    number = 1
    while (folder / RUNS / f"{method}-{number}").exists():
        number += 1
    return f"{method}-{number}"


def set_latest(run: Path) -> None:
    """Lets `latest` beside the run's folder point at it, in one step."""
    link = run.with_name(LATEST.name)
    temporary = link.with_name(".latest.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(run.name)
    temporary.replace(link)


def _quoted(text: str) -> str:
    """A TOML basic string; control characters and quotes are escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
