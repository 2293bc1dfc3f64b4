"""The sealed lab: pure computing over columns. No I/O, no clock, no dice."""

from typing import Any

from orrery_kernels.engine.chain import Chain

__all__ = ["Chain"]


def __getattr__(name: str) -> Any:
    """Return the kernel of that name; the families are imported when the first is asked for."""
    if name.startswith("_"):
        raise AttributeError(name)
    from orrery_kernels.engine import catalog

    try:
        if name.startswith("create_") and name.endswith("_operator"):
            return catalog.lookup(name[7:-9]).operator
        return catalog.lookup(name)
    except KeyError as error:
        raise AttributeError(f"orrery_kernels has no {error.args[0]}") from None


def __dir__() -> list[str]:
    from orrery_kernels.engine import catalog

    return sorted([*__all__, *catalog.kernels(), *catalog.functions()])
