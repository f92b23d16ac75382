"""The methods by name: a new one is one file and one line here."""

from fgembed.config import nearest
from fgembed.errors import ConfigError
from fgembed.methods.base import Method
from fgembed.methods.lcr import LCR
from fgembed.methods.moco import MoCo
from fgembed.methods.none import Untrained

METHODS: dict[str, type[Method]] = {
    "lcr": LCR,
    "moco": MoCo,
    "none": Untrained,
}


def method_named(name: str) -> type[Method]:
    """The method's class.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}{nearest(name, METHODS)}")
    return METHODS[name]
