"""The sealed lab: pure computing over columns. No I/O, no clock, no dice."""

from typing import Any

from orrery_kernels.engine.chain import Chain

__all__ = ["Chain"]


def __getattr__(name: str) -> Any:
    """Return the kernel of that name; the families are imported when the first is asked for."""
    if name.startswith("_"):
        raise AttributeError(name)
    from orrery_kernels.engine.surface import catalog

    try:
        return catalog()[name]
    except KeyError:
        raise AttributeError(f"orrery_kernels has no {name!r}") from None
