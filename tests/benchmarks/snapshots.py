"""Speed of freezing and of finding: a million symbols, diffs, memo hits. Rivals run beside us."""

import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import blake3
import diskcache
import joblib
import numpy as np
import pyarrow as pa
from orrery_kernels.domino.chain import Chain, read_chain
from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo, key_of
from orrery_kernels.domino.run import run
from orrery_kernels.domino.views import Leaves
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.descent import diff
from orrery_kernels.snapshot.digest import digest
from orrery_kernels.snapshot.snapshot import freeze, thaw
from orrery_kernels.snapshot.tree import CANONICAL, build, update

from .road_table import Table

SYMBOLS, RECORD_BYTES, CHANGED = 1_000_000, 64, 100
ROUNDS, MANY = 7, 200


@domino(version=1)
def mean(quotes: Annotated[Leaves, "quotes/*"]) -> float:
    return sum(quotes.values()) / len(quotes)


@domino(version=1)
def scaled(x: float, *, by: float = 2.0) -> float:
    return x * by


def best_s(work: Callable[[], object], rounds: int = ROUNDS, many: int = 1) -> float:
    """Return the seconds of one call in the quickest round, after one round that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for _ in range(many):
            work()
        times.append((time.perf_counter() - start) / many)
    return min(times[1:])


def trees(table: Table) -> None:
    """A million symbols, again with a hundred changed, and the difference of the two."""
    rng = np.random.default_rng(1)
    names = pa.array([f"S{i:07d}.XNAS" for i in range(SYMBOLS)], pa.large_string())
    records = rng.integers(0, 256, (SYMBOLS, RECORD_BYTES), dtype=np.uint8)
    plain = records.tobytes()
    built_s = best_s(lambda: build(names, records, CANONICAL))
    flat_s = best_s(lambda: blake3.blake3(plain).digest())
    some = [plain[i : i + RECORD_BYTES] for i in range(0, RECORD_BYTES * 20_000, RECORD_BYTES)]
    each_s = best_s(lambda: [blake3.blake3(one).digest() for one in some]) / len(some) * SYMBOLS
    table.add(
        f"snapshot of {SYMBOLS:,} symbols, {RECORD_BYTES} B of state each",
        "<= 100 ms",
        f"{built_s * 1e3:.0f} ms (blake3, no tree: of all bytes as one string {flat_s * 1e3:.0f} "
        f"ms, of each record in a Python loop {each_s * 1e3:.0f} ms)",
    )
    tree = build(names, records, CANONICAL)
    held = dict(tree.pieces)
    changes = {names[int(i)].as_py(): bytes(RECORD_BYTES)
               for i in rng.choice(SYMBOLS, CHANGED, replace=False)}  # fmt: skip
    moved = update(tree.root, changes, held.__getitem__)
    held.update(moved.pieces)
    update_s = best_s(lambda: update(tree.root, changes, held.__getitem__), 50)
    table.add(f"the same with {CHANGED} changed", "<= 1 ms", f"{update_s * 1e3:.2f} ms")
    assert len(list(diff(tree.root, moved.root, held.__getitem__))) == CHANGED
    diff_s = best_s(lambda: list(diff(tree.root, moved.root, held.__getitem__)), 50)
    table.add(f"diff of the two, {CHANGED} changed", "<= 1 ms", f"{diff_s * 1e3:.2f} ms")


def chain_of(count: int) -> Chain:
    tasks: list[dict] = [{"name": "t/0", "domino": "mean"}]
    for i in range(1, count):
        tasks.append({"name": f"t/{i}", "domino": "scaled", "reads": {"x": f"t/{i - 1}"}})
    return read_chain("bench", {"tasks": tasks}, {"mean": mean, "scaled": scaled})


def hits(table: Table) -> None:
    """What a hit costs, and rivals that keep results on disk."""
    quotes = {f"USD-{i:02d}": float(i) for i in range(20)}
    tree = build(list(quotes), [encode(v) for v in quotes.values()], CANONICAL)
    snapshot = thaw(freeze({"quotes": tree.root}, {"number": 1}, {}, {}).manifest)
    market, memo, chain = Market(snapshot, tree.pieces.__getitem__), Memo(), chain_of(3)
    steps = run(chain, market, memo)
    last, inputs = chain.tasks[-1], (steps[-2].row.output,)
    hit_s = best_s(lambda: memo.find(key_of(last, inputs)), many=MANY)
    fresh_s = best_s(lambda: memo.find(digest(last.fixed + inputs[0])), many=MANY)
    walk_s = best_s(lambda: run(chain, market, memo), many=MANY)
    rivals = ", ".join(f"{n} {s * 1e6:.0f} us, {s / hit_s:.0f}x" for n, s in rival_hits())
    table.add(
        "memo hit, end of chain, in process",
        "<= 10 us",
        f"{hit_s * 1e6:.1f} us; a key never asked for {fresh_s * 1e6:.1f} us, a walk of three "
        f"dominoes {walk_s * 1e6:.0f} us ({rivals})",
    )


def rival_hits() -> Iterator[tuple[str, float]]:
    """Yield (rival, seconds of a hit)."""
    with tempfile.TemporaryDirectory() as folder:
        kept = joblib.Memory(folder, verbose=0).cache(scaled.function)
        kept(1.0)
        yield "joblib", best_s(lambda: kept(1.0), many=50)
        with diskcache.Cache(f"{folder}/d") as cache:
            named = cache.memoize()(scaled.function)
            named(1.0)
            yield "diskcache", best_s(lambda: named(1.0), many=50)
