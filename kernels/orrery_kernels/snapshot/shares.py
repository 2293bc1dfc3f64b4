"""Much work in as many shares as there are processors. No bit of a result depends on how many."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

from orrery_kernels.engine.loader import processors

LEAST = 50_000  # of leaves or messages in a share; fewer are as quick in one
SHARES_MAX = 8
Result = TypeVar("Result")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SHARES_MAX - 1, thread_name_prefix="orrery-snapshot")


def shares_of(count: int, least: int = LEAST) -> list[tuple[int, int]]:
    """Return [first, stop) of each share.

    >>> shares_of(10)
    [(0, 10)]
    """
    many = max(1, min(processors(), SHARES_MAX, count // least))
    edges = [count * at // many for at in range(many + 1)]
    return list(pairwise(edges))


def in_turn_or_at_once(work: Callable[[int], Result], many: int) -> list[Result]:
    """Return work(0) … work(many - 1), each on a thread; one alone on the caller's."""
    others = [_pool().submit(work, at) for at in range(1, many)]
    return [work(0), *(other.result() for other in others)]
