"""Two small dominoes for tests of the stage that runs them."""

from typing import Annotated

from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.views import Leaves


@domino(version=1)
def total(quotes: Annotated[Leaves, "quotes/*"]) -> float:
    result = 0.0
    for name in quotes:
        result = result + quotes[name]
    return result


@domino(version=1)
def scaled(value: float, *, by: float = 2.0) -> float:
    return value * by
