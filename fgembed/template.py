"""The file `fgembed.toml` that `fgembed init` writes: short, and with a comment on each setting."""

from collections.abc import Mapping
from pathlib import Path

from fgembed.disk.files import write_text
from fgembed.errors import FgembedError
from fgembed.questions import Answer, things_table
from fgembed.workspace import CONFIG


def template_text(images: str, answers: Mapping[str, Answer]) -> str:
    """The TOML file, in which only the folder of photographs has to be set.

    Args:
        images: folder of photographs.
        answers: by the key of the question.
    """
    import tomli_w

    assignment = tomli_w.dumps({"images": images}).rstrip("\n")
    return f"""\
# fgembed workspace. Each setting can also be given as a flag or with --set table.key=value;
# what is not here comes from the recipe (`fgembed train --help` names them) and its defaults.

{assignment}    # photographs to learn from and to search; no labels needed

# include_clutter = true           # also hidden files, @eaDir, ... (docs/formats.md)
# recipe = "default"               # or moco, lcr, synpair, ...; none: no training, a fair start

{things_table(answers)}

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


def check_absent(folder: Path) -> Path:
    """The path of `fgembed.toml` in `folder`, where there is none yet.

    Raises:
        FgembedError: the file exists.
    """
    file = folder / CONFIG
    if file.exists() or file.is_symlink():
        raise FgembedError(f"{file} exists", "edit it, or remove it to write a new one")
    return file


def write_template(folder: Path, images: Path, answers: Mapping[str, Answer] | None = None) -> Path:
    """Writes `fgembed.toml` into `folder`.

    Args:
        folder: the workspace.
        images: folder of photographs.
        answers: by the key of the question; all unknown if None.

    Raises:
        FgembedError: the file exists.
    """
    file = check_absent(folder)
    write_text(file, template_text(str(images), answers or {}))
    return file
