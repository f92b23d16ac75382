"""The methods: each file is one, over `base` and `components`; `table` holds their classes."""

from pkgutil import iter_modules

_NOT_METHODS = ("base", "components", "table")


def method_names() -> list[str]:
    """The names of all methods, without importing torch."""
    return [module.name for module in iter_modules(__path__) if module.name not in _NOT_METHODS]
