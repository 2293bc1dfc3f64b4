"""From equations to arrays: unique points, rows over them, the order of solving."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from orrery_kernels.curves import _local
from orrery_kernels.curves.equations import Equation

Leg = tuple[str, int, int]  # curve, date, sign


class System(NamedTuple):
    """Points with their legs; rows of (point, constant, per_rate), one an instrument."""

    own: str
    legs: list[tuple[Leg, ...]]
    rows: list["Row"]

    def own_dates(self) -> list[int]:
        return sorted({date for legs in self.legs for name, date, _ in legs if name == self.own})

    def other_legs(self) -> dict[str, list[tuple[int, int, int]]]:
        """Return (point, date, sign) of the legs on other curves, by the name of the curve."""
        found: dict[str, list[tuple[int, int, int]]] = {}
        for point, legs in enumerate(self.legs):
            for name, date, sign in legs:
                if name != self.own:
                    found.setdefault(name, []).append((point, date, sign))
        return found


def system_of(equations: Sequence[Equation], own: str, as_of: int) -> System:
    """Collect the points of all equations, each once, terms on the same point added up."""
    index: dict[tuple[Leg, ...], int] = {}
    rows = []
    for equation in equations:
        row: dict[int, tuple[float, float]] = {}
        for constant, per_rate, forward, start, end, discount, pay in equation.terms:
            legs = ((forward, start, 1), (forward, end, -1)) if forward and start != end else ()
            legs = tuple(leg for leg in (*legs, (discount, pay, 1)) if leg[1] != as_of)
            point = index.setdefault(legs, len(index))
            before = row.get(point, (0.0, 0.0))
            row[point] = (before[0] + constant, before[1] + per_rate)
        rows.append([(point, *pair) for point, pair in row.items() if pair != (0.0, 0.0)])
    return System(own, list(index), rows)


Row = list[tuple[int, float, float]]
Packed = tuple[np.ndarray, np.ndarray]


def pack_local(
    system: System,
    weights: Callable[[int], dict[int, float]],
    times: Sequence[float],
    rates: Sequence[tuple[float, float]],
    band: tuple[float, float],
) -> tuple[System, Packed]:
    """Return the system with its points in order of their last node, and the arrays of `_local`.

    weights: the nodes and weights of the log discount factor of a date. times: of the nodes, in
    years. rates: (scale, shift) of each quote. band: of rates.
    """

    def by_node(legs: tuple[Leg, ...]) -> dict[int, float]:
        total: dict[int, float] = {}
        for name, date, sign in legs:
            for node, weight in weights(date).items() if name == system.own else ():
                total[node] = total.get(node, 0.0) + sign * weight
        return {node: total[node] for node in sorted(total) if total[node] != 0.0}

    system = _ordered(system, lambda legs: max(by_node(legs), default=0))
    legs = [by_node(point) for point in system.legs]
    last = [max(point, default=0) for point in legs]
    count = len(system.rows)
    starts = [sum(node < i for node in last) for i in range(count + 2)]
    own = [[term for term in row if last[term[0]] == i] for i, row in enumerate(system.rows, 1)]
    used = [starts[i] + len(row) for i, row in enumerate(own, 1)]
    series = [_series(row, legs, i) for i, row in enumerate(own, 1)]
    blank = [0.0] * _local.SERIES
    ints = {_local.NODE_START: starts, _local.NODE_USED: [0, *used]}
    floats = {
        _local.TIME: times,
        _local.BAND: band,
        _local.GUESS_CONSTANT: blank + [c for pair in series for c in pair[0]],
        _local.GUESS_PER_RATE: blank + [r for pair in series for r in pair[1]],
    }
    widest = max(starts[i + 1] - starts[i] for i in range(count + 1))
    pairs = [list(point.items()) for point in legs]
    return system, _packed(system, pairs, rates, widest, [len(row) for row in own], ints, floats)


def pack_global(system: System, rates: Sequence[tuple[float, float]]) -> tuple[list[int], Packed]:
    """Return the dates of the own curve, and the arrays of `_global`: legs are (date, sign)."""
    dates = system.own_dates()
    place = {date: position for position, date in enumerate(dates)}
    pairs = [
        [(place[date], float(sign)) for name, date, sign in legs if name == system.own]
        for legs in system.legs
    ]
    return dates, _packed(system, pairs, rates, 0, [0] * len(system.rows), {}, {})


def table_of(system: System) -> tuple[tuple[np.ndarray, ...], list[tuple[str, int]]]:
    """Return the arrays of `_points`, and the (curve, date) table their legs point into."""
    table = sorted({(name, date) for legs in system.legs for name, date, _ in legs})
    place = {key: position for position, key in enumerate(table)}
    rows, legs = system.rows, system.legs
    arrays = (
        np.cumsum([0, *(len(row) for row in rows)]),
        np.array([point for row in rows for point, _, _ in row], np.int64),
        np.array([constant for row in rows for _, constant, _ in row], np.float64),
        np.array([per_rate for row in rows for _, _, per_rate in row], np.float64),
        np.cumsum([0, *(len(point) for point in legs)]),
        np.array([place[name, date] for point in legs for name, date, _ in point], np.int64),
        np.array([float(sign) for point in legs for _, _, sign in point], np.float64),
    )
    return arrays, table


def _ordered(system: System, last_node: Callable[[tuple[Leg, ...]], int]) -> System:
    """Put the points in order of their last node, within it those its own equation uses first."""
    users = [{point for point, _, _ in row} for row in system.rows]
    nodes = [last_node(legs) for legs in system.legs]

    def place(point: int) -> tuple[int, bool, int]:
        node = nodes[point]
        return node, node > 0 and point not in users[node - 1], point

    order = sorted(range(len(nodes)), key=place)
    new = {old: position for position, old in enumerate(order)}
    rows = [sorted((new[point], *pair) for point, *pair in row) for row in system.rows]
    return System(system.own, [system.legs[point] for point in order], rows)


def shared_rows(rows: list[Row]) -> tuple[list[int], list[Row]]:
    """Return for each row the number of the longest earlier row in it (0: none), and the rest."""
    sets = [frozenset(row) for row in rows]
    bases, rest = [], []
    for i, row in enumerate(rows):
        inside = [j for j in range(i) if sets[j] <= sets[i]]
        base = max(inside, key=lambda j: len(rows[j]), default=None)
        bases.append(0 if base is None else base + 1)
        rest.append(row if base is None else [term for term in row if term not in sets[base]])
    return bases, rest


def _series(own: Row, legs: list[dict[int, float]], node: int) -> tuple[list[float], list[float]]:
    """Return the sums of constant * b^m / m! and per_rate * b^m / m! over own points."""
    constants, per_rates = [0.0] * _local.SERIES, [0.0] * _local.SERIES
    for point, constant, per_rate in own:
        power = 1.0
        for m in range(_local.SERIES):
            constants[m] += constant * power
            per_rates[m] += per_rate * power
            power *= legs[point][node] / (m + 1)
    return constants, per_rates


def _packed(system, pairs, rates, widest, own_counts, more_ints, more_floats) -> Packed:
    """Lay the parts end to end behind a header that says where each begins."""
    bases, rows = shared_rows(system.rows)
    starts = np.cumsum([0, 0] + [len(row) for row in rows])
    int_parts = {
        _local.ROW_START: starts,
        _local.ROW_OWN: [0, *(starts[i + 2] - count for i, count in enumerate(own_counts))],
        _local.ROW_POINT: [point for row in rows for point, _, _ in row],
        _local.ROW_BASE: [0, *bases],
        _local.LEG_START: np.cumsum([0] + [len(legs) for legs in pairs]),
        _local.LEG_NODE: [place for legs in pairs for place, _ in legs],
        **more_ints,
    }
    float_parts = {
        _local.ROW_CONSTANT: [constant for row in rows for _, constant, _ in row],
        _local.ROW_PER_RATE: [per_rate for row in rows for _, _, per_rate in row],
        _local.LEG_WEIGHT: [weight for legs in pairs for _, weight in legs],
        _local.SCALE: [0.0, *(scale for scale, _ in rates)],
        _local.SHIFT: [0.0, *(shift for _, shift in rates)],
        **more_floats,
    }
    header = np.zeros(_local.HEADER, np.int64)
    header[:3] = len(rows), len(pairs), widest
    position = _local.HEADER
    for which, values in int_parts.items():
        header[which] = position
        position += len(values)
    position = 0
    for which, values in float_parts.items():
        header[which] = position
        position += len(values)
    whole = [header, *(np.asarray(values, np.int64) for values in int_parts.values())]
    parts = [np.asarray(values, np.float64) for values in float_parts.values()]
    return np.concatenate(whole), np.concatenate(parts)
