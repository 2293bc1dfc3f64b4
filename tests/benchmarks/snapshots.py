"""Speed of freezing and of finding: snapshots, diffs, memo hits. Rivals run beside us.

    python -m tests.benchmarks.snapshots [--symbols 1000000] [--repeat 5]

Prints the best of several runs, the goal, and what a rival needs for the same in the same minute.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import blake3
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
from orrery_kernels.snapshot.digest import digest, digest_many
from orrery_kernels.snapshot.snapshot import freeze, thaw
from orrery_kernels.snapshot.tree import CANONICAL, build, update

RECORD_BYTES = 64
CHANGED = 100


@domino(version=1)
def mean(quotes: Annotated[Leaves, "quotes/*"]) -> float:
    return sum(quotes.values()) / len(quotes)


@domino(version=1)
def scaled(x: float, *, by: float = 2.0) -> float:
    return x * by


def best_s(work: Callable[[], object], repeat: int) -> float:
    """Return the seconds of the fastest of several runs, after one that is not counted."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def line(
    what: str, seconds: float, goal_s: float | None, rival: str = "", rival_s: float = 0
) -> str:
    goal = f"{_short(goal_s)}" if goal_s else ""
    ratio = f"{rival} {_short(rival_s)} ({rival_s / seconds:.1f}x)" if rival else ""
    return f"{what:<58}{_short(seconds):>10}{goal:>10}  {ratio}"


def _short(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.2f} us"
    return f"{seconds * 1e3:.2f} ms"


def trees(symbols: int, repeat: int) -> Iterator[str]:
    """A million symbols, again with a hundred changed, and the difference of the two."""
    rng = np.random.default_rng(1)
    names = pa.array([f"S{i:07d}.XNAS" for i in range(symbols)], pa.large_string())
    records = rng.integers(0, 256, (symbols, RECORD_BYTES), dtype=np.uint8)
    flat, offsets = records.reshape(-1), np.arange(symbols + 1) * RECORD_BYTES
    plain = flat.tobytes()
    flat_s = best_s(lambda: blake3.blake3(plain).digest(), repeat)
    leaves_s = best_s(lambda: digest_many(flat, offsets), repeat)
    yield line(f"{symbols} digests of {RECORD_BYTES} B, one call", leaves_s, None)
    some = [plain[i : i + RECORD_BYTES] for i in range(0, 64 * 20_000, RECORD_BYTES)]
    each_s = best_s(lambda: [blake3.blake3(s).digest() for s in some], repeat) / len(some)
    yield line("   of which each", leaves_s / symbols, None, "blake3 in a loop", each_s)

    built_s = best_s(lambda: build(names, records, CANONICAL), repeat)
    yield line(f"snapshot of {symbols} symbols", built_s, 0.1, "blake3, all as one string", flat_s)

    tree = build(names, records, CANONICAL)
    store = dict(tree.pieces)
    picked = rng.choice(symbols, min(CHANGED, symbols), replace=False)
    changes = {names[int(i)].as_py(): bytes(RECORD_BYTES) for i in picked}
    moved = update(tree.root, changes, store.__getitem__)
    store.update(moved.pieces)
    update_s = best_s(lambda: update(tree.root, changes, store.__getitem__), repeat * 10)
    yield line(f"again with {len(changes)} changed", update_s, 1e-3)
    found = list(diff(tree.root, moved.root, store.__getitem__))
    assert len(found) == len(changes), "the diff must find what was changed"
    diff_s = best_s(lambda: list(diff(tree.root, moved.root, store.__getitem__)), repeat * 10)
    yield line(f"diff of the two, {len(found)} changed", diff_s, 1e-3)


def chain_of(count: int) -> Chain:
    tasks: list[dict] = [{"name": "t/0", "domino": "mean"}]
    for i in range(1, count):
        tasks.append({"name": f"t/{i}", "domino": "scaled", "reads": {"x": f"t/{i - 1}"}})
    return read_chain("bench", {"tasks": tasks}, {"mean": mean, "scaled": scaled})


def hits(repeat: int) -> Iterator[str]:
    """What a hit costs, and rivals that keep results on disk or in memory."""
    quotes = {f"USD-{i:02d}": float(i) for i in range(20)}
    tree = build(list(quotes), [encode(v) for v in quotes.values()], CANONICAL)
    snapshot = thaw(freeze({"quotes": tree.root}, {"number": 1}, {}, {}).manifest)
    market, memo, chain = Market(snapshot, tree.pieces.__getitem__), Memo(), chain_of(3)
    steps = run(chain, market, memo)
    last, inputs = chain.tasks[-1], (steps[-2].row.output,)

    def fresh() -> None:
        # A key that was never asked for: everything is hashed.
        memo.find(digest(last.fixed + inputs[0]))

    many = 200
    hit_s = best_s(lambda: [memo.find(key_of(last, inputs)) for _ in range(many)], repeat) / many
    fresh_s = best_s(lambda: [fresh() for _ in range(many)], repeat) / many
    walk_s = best_s(lambda: [run(chain, market, memo) for _ in range(many)], repeat) / many
    rivals = dict(rival_hits(repeat))
    name = next(iter(rivals), "")
    yield line("memo hit, end of chain", hit_s, 1e-5, name, rivals.get(name, 0.0))
    yield line("   a key that was never asked for", fresh_s, 1e-5)
    yield line("   a walk of all 3 dominoes", walk_s, None)
    for rival, seconds in list(rivals.items())[1:]:
        yield line("   the same hit", hit_s, None, rival, seconds)


def rival_hits(repeat: int) -> Iterator[tuple[str, float]]:
    """Yield (rival, seconds of a hit) for the rivals that are installed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            import joblib
        except ImportError:
            pass
        else:
            kept = joblib.Memory(folder, verbose=0).cache(scaled.function)
            kept(1.0)
            yield "joblib", best_s(lambda: [kept(1.0) for _ in range(50)], repeat) / 50
        try:
            import diskcache
        except ImportError:
            pass
        else:
            cache = diskcache.Cache(f"{folder}/d")
            key = hashlib.sha256(b"key").digest()
            cache[key] = 1.0
            yield "diskcache", best_s(lambda: [cache[key] for _ in range(50)], repeat) / 50
            cache.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'work':<58}{'best':>10}{'goal':>10}  rival in the same run")
    for part in (hits(arguments.repeat), trees(arguments.symbols, arguments.repeat)):
        for text in part:
            print(text, flush=True)


if __name__ == "__main__":
    main()
