"""The dominoes there are: those of the lab, and of modules that a chain names."""

from collections.abc import Sequence
from importlib import import_module

from orrery_kernels.domino.domino import Domino
from orrery_kernels.errors import DominoError

LAB = (
    "orrery_kernels.curves.dominoes",
    "orrery_kernels.risk.dominoes",
    "orrery_kernels.domino.states",
)


def find_dominoes(modules: Sequence[str] = LAB) -> dict[str, Domino]:
    """Return the dominoes of modules by name. Raises DominoError when two share one."""
    found: dict[str, Domino] = {}
    for name in modules:
        try:
            module = import_module(name)
        except ImportError as error:
            raise DominoError(
                f"a module of dominoes must be importable, {name!r}: {error}"
            ) from error
        for value in vars(module).values():
            if not isinstance(value, Domino):
                continue
            held = found.setdefault(value.name, value)
            if held is not value:
                raise DominoError(
                    f"a domino must have a name of its own, {value.name!r} is also in {name}"
                )
    return found
