"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fgembed.errors import ConfigError


class Precision(StrEnum):
    """Number format of a model."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    Device, typer.Option(help="auto uses a GPU if there is one; cuda fails without one.")
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Instead of --device: an ONNX Runtime execution provider, such as "
        "TensorrtExecutionProvider.",
    ),
]
BundleOption = Annotated[Path, typer.Option(help="The exported model's folder.")]
MaxBadOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of unreadable images that is a failure.")
]
ClutterOption = Annotated[
    bool,
    typer.Option(
        "--include-clutter",
        help="Read also hidden files, and folders such as @eaDir that systems and programs leave.",
    ),
]
PrecisionOption = Annotated[Precision, typer.Option(help="Which of the exported models.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def device_name(device: Device, provider: str | None) -> str:
    """The device, or the execution provider in its place.

    Raises:
        ConfigError: both are given.
    """
    if provider is None:
        return device.value
    if device != Device.auto:
        raise ConfigError(
            f"--device {device} and --provider {provider} exclude each other", "give one of them"
        )
    return provider
