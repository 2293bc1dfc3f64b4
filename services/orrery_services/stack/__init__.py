"""Starts the real servers and the services on one machine, without Docker and without root.

Reading order: plan (what and where), part (one part as data), parts (all of them, in order),
runner (one part kept alive), supervisor (all of them), stack (from outside), faults (what tests do
to it). secrets, migrations, topics and connectors are also jobs of their own for containers.
"""

import importlib
from typing import Any

_HOME_OF = {
    "Plan": "plan",
    "Stack": "stack",
    "faults": "faults",
    "control": "control",
    "free_port_base": "plan",
    "make_plan": "plan",
    "plan": "plan",
    "jars": "jars",
    "processes": "processes",
    "secrets": "secrets",
    "topics": "topics",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import on demand: a job in a container needs no part of the supervisor."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__} has no {name!r}")
    module = importlib.import_module(f".{_HOME_OF[name]}", __name__)
    return module if name == _HOME_OF[name] else getattr(module, name)
