"""Options that several commands share, so that they read the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fgembed.errors import ConfigError


class Precision(StrEnum):
    """Bits of a number in a model."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    Device, typer.Option(help="auto takes a GPU where there is one; cuda fails without.")
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="In place of --device: an ONNX Runtime execution provider, such as "
        "TensorrtExecutionProvider.",
    ),
]
BundleOption = Annotated[Path, typer.Option(help="The exported model's folder.")]
MaxBadOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of unreadable pictures that is a failure.")
]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Which of the bundle's models; those that were exported.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def placed(device: Device, provider: str | None) -> str:
    """The device, or the provider that is given in its place.

    Raises:
        ConfigError: both are given.
    """
    if provider is None:
        return device.value
    if device != Device.auto:
        raise ConfigError(f"--device {device} and --provider {provider}", "give one of them")
    return provider
