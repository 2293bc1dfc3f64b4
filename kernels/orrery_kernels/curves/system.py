"""From equations to arrays: unique points, rows over them, and the order in which they can be solved."""

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
    rows: list[list[tuple[int, float, float]]]

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


def ordered_for(system: System, last_node: Callable[[tuple[Leg, ...]], int]) -> System:
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


def pack_local(
    system: System,
    weights: Callable[[int], dict[int, float]],
    times: Sequence[float],
    rates: Sequence[tuple[float, float]],
) -> tuple[System, np.ndarray, np.ndarray]:
    """Return the reordered system and the packed arrays of `_local`.

    weights: the nodes and weights of the log discount factor of a date. times: of the nodes, years.
    rates: (scale, shift) of each quote.
    """

    def by_node(legs: tuple[Leg, ...]) -> dict[int, float]:
        total: dict[int, float] = {}
        for name, date, sign in legs:
            for node, weight in weights(date).items() if name == system.own else ():
                total[node] = total.get(node, 0.0) + sign * weight
        return {node: total[node] for node in sorted(total) if total[node] != 0.0}

    system = ordered_for(system, lambda legs: max(by_node(legs), default=0))
    legs = [by_node(point) for point in system.legs]
    last = [max(point, default=0) for point in legs]
    count = len(system.rows)
    node_start = [sum(node < i for node in last) for i in range(count + 2)]
    own = [[(p, c, d) for p, c, d in row if last[p] == i] for i, row in enumerate(system.rows, 1)]
    bases, rows = _shared(system.rows)
    series = [_series(row, legs, i) for i, row in enumerate(own, 1)]
    starts = np.cumsum([0, 0] + [len(row) for row in rows])
    int_parts = {
        _local.ROW_START: starts,
        _local.ROW_OWN: [0] + [starts[i + 1] - len(own[i - 1]) for i in range(1, count + 1)],
        _local.ROW_POINT: [point for row in rows for point, _, _ in row],
        _local.ROW_BASE: [0, *bases],
        _local.NODE_START: node_start,
        _local.NODE_USED: [0] + [node_start[i] + len(own[i - 1]) for i in range(1, count + 1)],
        _local.LEG_START: np.cumsum([0] + [len(point) for point in legs]),
        _local.LEG_NODE: [node for point in legs for node in point],
    }
    float_parts = {
        _local.ROW_CONSTANT: [constant for row in rows for _, constant, _ in row],
        _local.ROW_PER_RATE: [per_rate for row in rows for _, _, per_rate in row],
        _local.LEG_WEIGHT: [weight for point in legs for weight in point.values()],
        _local.SCALE: [0.0] + [scale for scale, _ in rates],
        _local.SHIFT: [0.0] + [shift for _, shift in rates],
        _local.TIME: times,
        _local.GUESS_CONSTANT: [0.0] * _local.SERIES + [c for pair in series for c in pair[0]],
        _local.GUESS_PER_RATE: [0.0] * _local.SERIES + [d for pair in series for d in pair[1]],
    }
    widest = max(node_start[i + 1] - node_start[i] for i in range(count + 1))
    return system, *_packed([count, len(legs), widest], int_parts, float_parts)


Row = list[tuple[int, float, float]]


def _shared(rows: list[Row]) -> tuple[list[int], list[Row]]:
    """Return for each row the number of the longest earlier row it contains (0: none), and the rest."""
    sets = [frozenset(row) for row in rows]
    bases, rest = [], []
    for i, row in enumerate(rows):
        inside = [j for j in range(i) if sets[j] <= sets[i]]
        base = max(inside, key=lambda j: len(rows[j]), default=None)
        bases.append(0 if base is None else base + 1)
        rest.append(row if base is None else [term for term in row if term not in sets[base]])
    return bases, rest


def _series(own: Row, legs: list[dict[int, float]], node: int) -> tuple[list[float], list[float]]:
    """Return sums of constant * b^m / m! and per_rate * b^m / m! over own points, m = 0, 1, ..."""
    constants, per_rates = [0.0] * _local.SERIES, [0.0] * _local.SERIES
    for point, constant, per_rate in own:
        power = 1.0
        for m in range(_local.SERIES):
            constants[m] += constant * power
            per_rates[m] += per_rate * power
            power *= legs[point][node] / (m + 1)
    return constants, per_rates


def _packed(head: list[int], int_parts: dict, float_parts: dict) -> tuple[np.ndarray, np.ndarray]:
    header = np.zeros(_local.HEADER, np.int64)
    header[: len(head)] = head
    position = _local.HEADER
    for which, values in int_parts.items():
        header[which] = position
        position += len(values)
    ints = np.concatenate([header, *(np.asarray(v, np.int64) for v in int_parts.values())])
    position = 0
    for which, values in float_parts.items():
        ints[which] = position
        position += len(values)
    return ints, np.concatenate([np.asarray(v, np.float64) for v in float_parts.values()])
