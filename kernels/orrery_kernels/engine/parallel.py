"""Large batches over threads: kernels and blocks of rows are dealt out, never one symbol's stream.

Task (kernel, block) may run when the block before it of the same kernel is done, and the same
block of the kernels it reads. Each kernel meets its rows in order, so results cannot depend on
the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

THREADS_MAX = 8
WORK_MIN = 600_000  # rows x kernels below which one thread is as quick
BLOCKS = 8
BLOCK_ROWS_MIN = 16_384


@cache
def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(THREADS_MAX - 1, thread_name_prefix="orrery-kernels")


def worth_it(rows: int, kernels: int, threads: int) -> bool:
    """Return whether a batch is large enough to be dealt to threads."""
    return threads > 1 and kernels > 1 and rows * kernels >= WORK_MIN and rows > BLOCK_ROWS_MIN


class Wavefront:
    """The order of tasks of one batch. Stage 0 encodes symbols; stage k + 1 is kernel k."""

    def __init__(
        self,
        rows: int,
        needs: Sequence[Sequence[int]],
        encode: Callable[[int, int], int],
        grow: Callable[[], None],
        fold: Callable[[int, int, int], object],
    ):
        step = max(BLOCK_ROWS_MIN, -(-rows // BLOCKS // 64) * 64)
        self.edges = [*range(0, rows, step), rows]
        self.needs = [(), *(tuple({0, *(n + 1 for n in need)}) for need in needs)]
        self.encode, self.grow, self.fold = encode, grow, fold
        self.done = [0] * len(self.needs)  # blocks finished, per stage
        self.busy = [False] * len(self.needs)
        self.error: BaseException | None = None
        self.pause = False  # records are about to move
        self.changed = Condition()

    def run(self, threads: int) -> None:
        """Run all tasks on the calling thread and threads - 1 others."""
        others = [_pool().submit(self._work) for _ in range(min(threads, THREADS_MAX) - 1)]
        self._work()
        for other in others:
            other.result()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while True:
            with self.changed:
                stage = self._next()
                while stage is None:
                    self.changed.wait()
                    stage = self._next()
                if stage < 0:
                    return
                self.busy[stage] = True
            try:
                self._task(stage, self.done[stage])
            except BaseException as error:  # handed to the caller, who raises it
                self.error = error
            with self.changed:
                self.busy[stage] = False
                self.done[stage] += 1
                self.changed.notify_all()

    def _next(self) -> int | None:
        """Return the stage that is furthest behind and may run, None to wait, -1 at the end."""
        blocks = len(self.edges) - 1
        if self.error is not None or min(self.done) == blocks:
            self.changed.notify_all()
            return -1
        if self.pause:
            return None
        best = None
        for stage, done in enumerate(self.done):
            if (
                self.busy[stage]
                or done == blocks
                or any(self.done[n] <= done for n in self.needs[stage])
            ):
                continue
            if best is None or done < self.done[best]:
                best = stage
        return best

    def _task(self, stage: int, block: int) -> None:
        low, high = self.edges[block], self.edges[block + 1]
        if stage:
            self.fold(stage - 1, low, high)
            return
        reached = self.encode(low, high)
        while reached < high:
            with self.changed:
                self.pause = True
                while sum(self.busy) > 1:
                    self.changed.wait()
                self.grow()
                self.pause = False
                self.changed.notify_all()
            reached = self.encode(reached, high)
