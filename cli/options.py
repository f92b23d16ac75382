"""Options that several commands share, so that they read the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    Device, typer.Option(help="auto takes a GPU where there is one; cuda fails without.")
]
BundleOption = Annotated[Path, typer.Option(help="The exported model's folder.")]
MaxBadOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of unreadable pictures that is a failure.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
