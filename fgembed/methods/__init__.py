"""The methods by name: a new one is one file and one line here."""

from fgembed.methods.base import Method
from fgembed.methods.lcr import LCR
from fgembed.methods.moco import MoCo
from fgembed.methods.none import Untrained

METHODS: dict[str, type[Method]] = {
    "lcr": LCR,
    "moco": MoCo,
    "none": Untrained,
}
