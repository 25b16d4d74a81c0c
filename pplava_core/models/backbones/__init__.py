"""One adapter a backbone: how its parts are built and fed. No other file asks a model's name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pplava_core.errors import ModelError

if TYPE_CHECKING:
    from types import ModuleType

ADAPTERS = {"nano": "pplava_core.models.backbones.nano"}


def adapter(name: str) -> ModuleType:
    """Return the module that builds and feeds backbones of this name.

    Raises:
        ModelError: no adapter has this name.
    """
    try:
        return import_module(ADAPTERS[name])
    except KeyError:
        known = ", ".join(sorted(ADAPTERS))
        raise ModelError(f"no adapter for backbone {name!r}; this version has: {known}") from None
