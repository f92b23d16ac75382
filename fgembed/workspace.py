"""The folder that a user works in: where each command finds what the one before it wrote."""

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
    """The file that `fgembed init` writes: only the folder of photographs has to be set."""

    images: str

    def text(self) -> str:
        """The TOML file, with comments."""
        import tomli_w

        images = tomli_w.dumps({"images": self.images}).rstrip("\n")
        return f"""\
# fgembed workspace. Each setting can also be given as a flag or with --set table.key=value;
# what is not here comes from the recipe (`fgembed train --help` names them) and its defaults.

{images}    # photographs to learn from and to search; no labels needed

# recipe = "default"               # or moco, lcr, synpair, ...; none: no training, a fair start

[backbone]
# name = "torchvision/resnet50"    # on a CPU: "torchvision/mobilenet_v2"
# weights = "imagenet"             # downloads once; or a .safetensors/.pt file, or "random"

[preprocessing]
# size = 224                       # side of the input in pixels; 112 to 160 is faster on a CPU

[eval]
# If some photographs are labelled (<folder>/<class>/<photograph>), training ends with a table of
# scores beside those of the untouched start. The same folder twice means leave-one-out.
# gallery = "photos/train"
# queries = "photos/test"
"""


def write_template(folder: Path, images: Path) -> Path:
    """Writes `fgembed.toml` into `folder`.

    Raises:
        FgembedError: the file exists.
    """
    file = folder / CONFIG
    if file.exists():
        raise FgembedError(f"{file} exists", "edit it, or remove it to write a new one")
    write_text(file, Template(str(images)).text())
    return file


def workspace_images(folder: Path = Path()) -> Path:
    """The folder of photographs that `fgembed.toml` names.

    Raises:
        NotFoundError: there is no `fgembed.toml`, or it names no folder.
    """
    file = folder / CONFIG
    images = read_toml(file).get("images") if file.is_file() else None
    if not isinstance(images, str):
        raise NotFoundError(
            f"no folder of photographs: {file} names none",
            f'give a folder, or name it in {file} with "fgembed init PHOTOS"',
        )
    return folder / images


def find_run(name: str | None, folder: Path = Path()) -> Path:
    """The run folder `runs/<name>`, the folder at path `name`, or the latest run if None.

    Raises:
        NotFoundError: the folder does not exist.
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
    """The first unused name of the form `<method>-<number>`."""
    number = 1
    while (folder / RUNS / f"{method}-{number}").exists():
        number += 1
    return f"{method}-{number}"


def set_latest(run: Path) -> None:
    """Points the link `latest` beside the run's folder to it, atomically."""
    link = run.with_name(LATEST.name)
    temporary = link.with_name(".latest.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(run.name)
    temporary.replace(link)
