"""The sealed lab: pure computing over columns. No I/O, no clock, no dice.

    from orrery_kernels import Chain, Stream, plan, ewma, log_returns, ofi, vwap

Every kernel of the catalog is here by its name; `help(ewma)` is its page. Reading order: columns,
errors, partition, engine (its own order is in its header), ticks, stream, operator.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orrery_kernels.engine.chain import Chain
    from orrery_kernels.operator import KernelOperator, Plan, Stage, plan
    from orrery_kernels.stream import Stream

__all__ = ["Chain", "KernelOperator", "Plan", "Stage", "Stream", "plan"]
_HOMES = {"Chain": "engine.chain", "Stream": "stream"}


def __getattr__(name: str) -> Any:
    """Return the class, kernel, function or create_<kernel>_operator of that name.

    Nothing is imported before it is asked for: who wants the columns only does not pay for numba.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    if name in __all__:
        found = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'operator')}"), name)
        globals()[name] = found
        return found
    from orrery_kernels.engine import catalog

    try:
        if name.startswith("create_") and name.endswith("_operator"):
            return _operator_of(catalog.lookup(name[7:-9]))
        return catalog.lookup(name)
    except KeyError as error:
        raise AttributeError(f"orrery_kernels has no {error.args[0]}") from None


def _operator_of(public: Any) -> Any:
    if not hasattr(public, "operator"):
        raise KeyError(f"operator of {public.__name__}, which is no fold over ticks but a function")
    return public.operator


def __dir__() -> list[str]:
    from orrery_kernels.engine import catalog

    return sorted([*__all__, *catalog.kernels(), *catalog.functions()])
