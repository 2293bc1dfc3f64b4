"""The chains of dominoes of a node, as declared in universe.toml or kept as facts."""

from collections.abc import Mapping
from typing import Any

from orrery_kernels.domino import catalog
from orrery_kernels.domino.chain import Chain, read_chain

from ..config import Settings
from ..errors import ConfigError
from . import steps


def read(name: str, declared: Mapping[str, Any]) -> Chain:
    """Return a chain. Raises ConfigError or DominoError naming chain, task and remedy."""
    steps.check_keys(name, declared)
    known = catalog.find_dominoes((*catalog.LAB, *declared.get("modules", ())))
    return read_chain(name, declared, known)


def declared(settings: Settings, name: str) -> Mapping[str, Any]:
    """Return the declaration of a chain that runs in a process."""
    found = steps.process_chains(settings.dominoes)
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise ConfigError(
            f"a chain must be declared in [dominoes], {name!r} is not; there are: {there} "
            f"({settings.universe})"
        )
    return found[name]
