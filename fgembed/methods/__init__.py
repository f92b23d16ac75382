"""The methods: one file each, built on `base` and `components`; `table` lists their classes."""

from pkgutil import iter_modules

_NOT_METHODS = ("base", "components", "table")


def method_names() -> list[str]:
    """The names of all methods, without importing torch.

    Example:
        >>> "moco" in method_names()
        True
    """
    return [module.name for module in iter_modules(__path__) if module.name not in _NOT_METHODS]
