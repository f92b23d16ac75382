"""The methods by name: a new one is one file, `methods/<name>.py`, and one line here."""

from importlib import import_module
from typing import TYPE_CHECKING

from fgembed.config import nearest
from fgembed.errors import ConfigError

if TYPE_CHECKING:
    from fgembed.methods.base import Method

# name of the module and of its class; imported when asked for, so that listing them is quick
METHODS = {
    "lcr": "LCR",
    "lodisc": "LoDisc",
    "moco": "MoCo",
    "mocov3": "MoCoV3",
    "neighbours": "Neighbours",
    "none": "Untrained",
    "ppssl": "PPSSL",
    "synpair": "SynPair",
}


def method_named(name: str) -> "type[Method]":
    """The method's class.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}{nearest(name, METHODS)}")
    module = import_module(f"fgembed.methods.{name}")
    method: type[Method] = getattr(module, METHODS[name])
    return method
