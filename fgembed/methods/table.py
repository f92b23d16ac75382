"""The methods' classes by name. A new one is a file, `methods/<name>.py`, its import and a line."""

from fgembed.errors import ConfigError
from fgembed.methods.base import Method
from fgembed.methods.distill import Distill
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
    "distill": Distill,
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
    """The class of the method with this name.

    Raises:
        ConfigError: no method has this name.

    Example:
        >>> method_named("lcr").__name__
        'LCR'
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}", nearest(name, METHODS))
    return METHODS[name]
