"""What the world sees of a kernel: a function made from its definition."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from orrery_kernels.engine.spec import Kernel
from orrery_kernels.errors import StepError

_published: dict[str, Any] = {}


def publish(definition: Kernel) -> Any:
    """Return the public function of a kernel and make it known by name."""
    held = _published.get(definition.name)
    if held is not None and held.definition.function.__module__ != definition.function.__module__:
        raise StepError(
            f"kernel {definition.name} must have one definition, was in"
            f" {held.definition.function.__module__} and {definition.function.__module__}"
        )

    def public(*_: Any) -> Any:
        raise NotImplementedError

    public.__name__ = definition.name
    public.definition = definition
    _published[definition.name] = public
    return public


def catalog() -> Mapping[str, Any]:
    """Return every kernel's public function by name, importing all families."""
    import orrery_kernels.ticks as families

    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")
    return dict(sorted(_published.items()))


def definitions() -> Mapping[str, Kernel]:
    """Return every kernel's definition by name."""
    return {name: public.definition for name, public in catalog().items()}
