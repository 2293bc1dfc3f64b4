"""The catalog: every kernel and function by its public name, found by importing the families."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from orrery_kernels.engine import loader
from orrery_kernels.engine.spec import Kernel
from orrery_kernels.errors import StepError

_kernels: dict[str, Any] = {}  # public functions of kernels
_functions: dict[str, Callable[..., Any]] = {}  # public functions that are not folds over ticks
_broken: dict[str, Exception] = {}  # families that could not be imported


def add_kernel(definition: Kernel, public: Any) -> None:
    """Make a kernel known by name; one name has one definition."""
    held = _kernels.get(definition.name)
    if held is not None:
        here, there = definition.function.__module__, held.definition.function.__module__
        if here != there:
            raise StepError(
                f"kernel {definition.name} must be defined once, was in {there} and {here}"
            )
    _kernels[definition.name] = public


def function(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plain function of the lab (a schedule, a matrix, a join) public under its name."""
    _functions[plain.__name__] = plain
    return plain


@lru_cache(maxsize=1)
def _import_families() -> None:
    import orrery_kernels.ticks as families

    for module in pkgutil.iter_modules(families.__path__):
        try:
            importlib.import_module(f"{families.__name__}.{module.name}")
        except Exception as error:  # one broken family must not take the others with it
            _broken[module.name] = error


def kernels() -> Mapping[str, Any]:
    """Return the public function of every kernel, sorted by name."""
    _import_families()
    return dict(sorted(_kernels.items()))


def functions() -> Mapping[str, Callable[..., Any]]:
    """Return every public function that is not a kernel, sorted by name."""
    _import_families()
    return dict(sorted(_functions.items()))


def broken() -> Mapping[str, Exception]:
    """Return the families that could not be imported, with the reason."""
    _import_families()
    return dict(_broken)


def _find(name: str) -> Any:
    """Return the public function `name`, or None; all families are imported only for the latter."""
    if name not in _kernels and name not in _functions:
        family = loader.family_of(name)
        if family is None:
            _import_families()
        else:
            with suppress(Exception):  # _import_families says what it was
                importlib.import_module(f"orrery_kernels.ticks.{family}")
    return _kernels.get(name) or _functions.get(name)


def lookup(name: str) -> Any:
    """Return the public function `name`; KeyError (naming broken families) when there is none."""
    found = _find(name)
    if found is None:
        _import_families()
    if found is None:
        raise KeyError(name + "".join(f"; family {m} is broken: {e}" for m, e in _broken.items()))
    return found


def definition(name: str) -> Kernel | None:
    """Return the definition of the kernel `name`, None when there is none."""
    _find(name)
    public = _kernels.get(name)
    return None if public is None else public.definition
