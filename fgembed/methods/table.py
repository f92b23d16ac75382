"""The methods by name: a new one is one file, `methods/<name>.py`, its import and one line here."""

from fgembed.errors import ConfigError
from fgembed.methods.base import Method
from fgembed.methods.lcr import LCR
from fgembed.methods.lodisc import LoDisc
from fgembed.methods.moco import MoCo
from fgembed.methods.mocov3 import MoCoV3
from fgembed.methods.neighbours import Neighbours
from fgembed.methods.none import Untrained
from fgembed.methods.ppssl import PPSSL
from fgembed.methods.synpair import SynPair
from fgembed.text import nearest

METHODS: dict[str, type[Method]] = {
    "lcr": LCR,
    "lodisc": LoDisc,
    "moco": MoCo,
    "mocov3": MoCoV3,
    "neighbours": Neighbours,
    "none": Untrained,
    "ppssl": PPSSL,
    "synpair": SynPair,
}


def method_named(name: str) -> type[Method]:
    """The method's class.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}", nearest(name, METHODS))
    return METHODS[name]
