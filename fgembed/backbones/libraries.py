"""The libraries of backbones by name, each imported when it is first used: they load slowly."""

from collections.abc import Callable

from fgembed.backbones.family import Family
from fgembed.errors import ConfigError


def _torchvision() -> Family:
    from fgembed.backbones.from_torchvision import FAMILY

    return FAMILY


def _timm() -> Family:
    from fgembed.backbones.from_timm import FAMILY

    return FAMILY


def _open_clip() -> Family:
    from fgembed.backbones.from_open_clip import FAMILY

    return FAMILY


FAMILIES: dict[str, Callable[[], Family]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "open_clip": _open_clip,
}


def family_of(name: str) -> tuple[Family, str]:
    """The library of `<library>/<name>`, and `<name>`.

    Raises:
        ConfigError: the library is unknown.
        MissingExtraError: the library is not installed.
    """
    library, _, model = name.partition("/")
    if library not in FAMILIES or not model:
        raise ConfigError(
            f"no backbone {name!r}: expected <library>/<name>",
            f"give a <library> that is one of {', '.join(FAMILIES)}",
        )
    return FAMILIES[library](), model
