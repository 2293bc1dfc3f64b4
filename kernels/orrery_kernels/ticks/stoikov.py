"""Stoikov's micro-price, learnt from the quotes so far."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, ring

_SWEEPS_MAX = 500  # passes over the states in which the adjustments must settle
_SETTLED = 1e-10  # of a tick


def _states(p: object) -> int:
    return p.buckets * p.spreads


@inline
def _count(counts, moves, seen, states, a, b, move):
    counts[a * states + b] += 1.0
    moves[a] += move
    seen[a] += 1.0


@inline
def _mirror(a, buckets):
    """Return the state with bid and ask exchanged."""
    return a + buckets - 1 - 2 * (a % buckets)


@inline
def _adjust(counts, moves, seen, price, states, buckets):
    """Solve G = E[move] + P G over the states by sweeps, a state and its mirror image together.

    A constant could be added to any solution; that images have opposite signs fixes it.
    """
    for _ in range(_SWEEPS_MAX):
        largest = 0.0
        for a in range(states):
            image = _mirror(a, buckets)
            if image > a and seen[a] > counts[a * states + a]:
                total = moves[a]
                for b in range(states):
                    total += counts[a * states + b] * price[b] if b != a else 0.0
                found = total / (seen[a] - counts[a * states + a])
                largest = max(largest, abs(found - price[a]))
                price[a] = found
                price[image] = -found
        if largest < _SETTLED:
            break


@kernel(
    rows="quote",
    state={
        "n": i64, "state": i64, "mid": f64, "counts": ring(lambda p: _states(p) * _states(p)),
        "moves": ring(_states), "seen": ring(_states), "price": ring(_states),
    },
    params={
        "tick_size": param(0.01, "(0, inf)", "price step of the venue"),
        "buckets": param(5, "[2, 100]", "equal parts of the imbalance"),
        "spreads": param(2, "[1, 20]", "spreads told apart, in ticks; the last takes wider ones"),
        "every": param(1_000, "[10, 1000000]", "quotes after which the adjustments are found anew"),
    },
    let={"states": _states},
)  # fmt: skip
def microprice_stoikov(s, p, bid, ask, bid_size, ask_size):
    """Micro-price: where the mid is expected to settle, given imbalance and spread.

    Formula: mid + G(state), state the bucket of q_b / (q_b + q_a) and the spread in ticks; G =
        E[move of the mid] + P G over the transitions seen so far, each counted with its mirror
        image, so that a balanced book adds 0
    Units: those of price
    Warm-up: `every` quotes; a quote without size or crossed is null and ends the chain of states
    Source: Stoikov (2018), Quantitative Finance 18(12), 1959-1966
    """
    depth = bid_size + ask_size
    if not depth > 0.0 or ask <= bid:
        s.state = 0
        return nan
    bucket = min(int(bid_size / depth * p.buckets), p.buckets - 1)
    wide = min(max(int((ask - bid) / p.tick_size + 0.5), 1), p.spreads) - 1
    here = wide * p.buckets + bucket
    mid = 0.5 * (bid + ask)
    if s.state > 0:
        before = s.state - 1
        move = (mid - s.mid) / p.tick_size
        _count(s.counts, s.moves, s.seen, p.states, before, here, move)
        image = _mirror(before, p.buckets)
        _count(s.counts, s.moves, s.seen, p.states, image, _mirror(here, p.buckets), -move)
    s.state = here + 1
    s.mid = mid
    s.n += 1
    if s.n % p.every == 0:
        _adjust(s.counts, s.moves, s.seen, s.price, p.states, p.buckets)
    return mid + s.price[here] * p.tick_size if s.n >= p.every else nan
