"""A curve's plan: everything that stays when quotes move, laid out once for the solvers.

plan = CurvePlan("2026-11-20", instruments, CurveConfig("USD-SOFR"))
curve = plan.rebuild(quotes)           # an array in the order of plan.quote_ids, or a mapping
logs = plan.scenarios(shifted_quotes)  # (s, n) -> (s, n + 1) log discount factors at the nodes
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np

from orrery_kernels.curves import _global, _interpolate, _local
from orrery_kernels.curves.calendars import Calendar
from orrery_kernels.curves.checks import check_pillars, check_sensitivity
from orrery_kernels.curves.config import CurveConfig
from orrery_kernels.curves.curve import Curve, Frame
from orrery_kernels.curves.dates import DateLike, as_date
from orrery_kernels.curves.diagnosis import failure
from orrery_kernels.curves.equations import Equation, Market, equation
from orrery_kernels.curves.instruments import Instrument
from orrery_kernels.curves.system import System, pack_global, pack_local, system_of, table_of
from orrery_kernels.errors import CurveError

SOLVER_VERSION = 1  # part of every digest; raise it when a bit of a result may change
NO_JACOBIAN = np.empty((0, 0))
empty, solve_one = np.empty, _local.solve_one  # found sooner: a rebuild takes 7 us
_LOCAL = ("log_linear", "linear_zero")
Fixings = Mapping[str, Mapping[DateLike, float]]


def _node_date(one: Equation, pillar: str) -> int:
    return one.last if pillar == "last" else one.maturity


def local_weights(interpolation: str, nodes: Sequence[int]):
    """Return the function from a date to the nodes and weights of its log discount factor."""
    as_of, last = nodes[0], len(nodes) - 1

    @cache
    def weights(date: int) -> dict[int, float]:
        i = min(bisect_left(nodes, date), last)
        if i == 0:
            return {}
        right = (date - nodes[i - 1]) / (nodes[i] - nodes[i - 1])
        if interpolation == "linear_zero":
            years = date - as_of
            if i == 1:
                return {1: years / (nodes[1] - as_of)}
            left = (1.0 - right) * years / (nodes[i - 1] - as_of)
            both = {i - 1: left, i: right * years / (nodes[i] - as_of)}
        else:
            both = {i - 1: 1.0 - right, i: right}
        return {node: weight for node, weight in both.items() if node and weight}

    return weights


class CurvePlan:
    """Instruments as arrays. Canonical: the order of instruments and quotes changes nothing.

    calendars: replace or add to the stored ones, by name. fixings: of overnight indices by name and
    date, for futures whose period has begun. curves (at rebuild): those that `config.discount` and
    the other legs of basis swaps name.
    """

    def __init__(
        self,
        as_of: DateLike,
        instruments: Sequence[Instrument],
        config: CurveConfig,
        calendars: Mapping[str, Calendar] | None = None,
        fixings: Fixings | None = None,
    ):
        day = as_date(as_of)
        known = {
            name: {as_date(date): rates[date] for date in rates}
            for name, rates in (fixings or {}).items()
        }
        self.market = Market(day, config.discount or config.name, dict(calendars or {}), known)
        found = [(equation(one, self.market), one) for one in instruments]
        found.sort(key=lambda pair: (pair[0].last, pair[0].kind, pair[0].id))
        self.config = config
        self.equations = [one for one, _ in found]
        self.instruments = [instrument for _, instrument in found]
        check_pillars(self.equations, day, config)
        nodes = (day, *sorted(_node_date(one, config.pillar) for one in self.equations))
        self.quote_ids = tuple(one.id for one in self.equations)
        self._count = len(self.quote_ids)
        self._shape = (self._count,)
        self.frame = Frame(day, config, nodes, self.quote_ids, self._digest())
        self._lay_out(system_of(self.equations, config.name, day))

    def _digest(self) -> bytes:
        """32 bytes over everything but quotes and other curves, each part with its length."""
        parts = [f"solver {SOLVER_VERSION}", repr(self.market.as_of), repr(self.config)]
        parts += [repr(instrument) for instrument in self.instruments]
        parts += [f"{n} {c.digest.hex()}" for n, c in sorted(self.market.calendars.items())]
        parts += [
            f"{n} {sorted(rates.items())}" for n, rates in sorted(self.market.fixings.items())
        ]
        texts = [part.encode() for part in parts]
        whole = b"".join(len(text).to_bytes(8, "little") + text for text in texts)
        return blake2b(whole, digest_size=32, person=b"orrery curveplan").digest()

    def _lay_out(self, system: System) -> None:
        """Pack the system for the local solver, which also gives the others their start."""
        config, frame = self.config, self.frame
        self.is_local = config.interpolation in _LOCAL and config.pillar == "last"
        starting = config.interpolation if self.is_local else "log_linear"
        self._start_nodes = (frame.as_of, *sorted(one.last for one in self.equations))
        self.start_weights = local_weights(starting, self._start_nodes)
        check_sensitivity(self.equations, system, self.start_weights)
        self.start_times = [(date - frame.as_of) / 365.0 for date in self._start_nodes]
        rates = [(one.scale, one.shift) for one in self.equations]
        ordered, self.arrays = pack_local(
            system, self.start_weights, self.start_times, rates, config.quote_band
        )
        self.terms = ordered
        self._others = ordered.other_legs()
        self._offsets = np.array(
            [
                sum(s * frame.turned(d) for n, d, s in legs if n == config.name)
                for legs in ordered.legs
            ],
            float,
        )
        self._alone = self.is_local and not self._others
        if not self.is_local:
            self._lay_out_global(ordered, rates)

    def _lay_out_global(self, system: System, rates: list[tuple[float, float]]) -> None:
        frame = self.frame
        dates, self._global_arrays = pack_global(system, rates)
        self._dates = (np.array(dates, np.float64) - frame.as_of) / 365.0
        self._settings = np.array([frame.kind, frame.positive, frame.extrapolation], np.int64)
        self._slopes = np.empty((0, 0))
        if frame.kind != _interpolate.MONOTONE_CONVEX:
            flat = Curve(frame, np.zeros(len(frame.node_dates)), None)
            by_date = flat.weights(np.array(dates))
            place = {date: position for position, date in enumerate(dates)}
            self._slopes = np.zeros((len(system.legs), len(self.equations)))
            for point, legs in enumerate(system.legs):
                for name, date, sign in legs:
                    if name == system.own:
                        self._slopes[point] += sign * by_date[place[date]]

    def ordered(self, quotes: Mapping[str, float]) -> np.ndarray:
        """Return the quotes of a mapping in the order of `quote_ids`; more do not matter."""
        missing = [name for name in self.quote_ids if name not in quotes]
        if missing:
            raise CurveError(
                f"every instrument of curve {self.config.name} needs a quote, missing: "
                f"{', '.join(missing)} (drop these instruments, or pass their quotes)"
            )
        return np.array([quotes[name] for name in self.quote_ids], np.float64)

    def rebuild(
        self,
        quotes: np.ndarray | Mapping[str, float],
        curves: Mapping[str, Curve] | None = None,
        jacobian: bool = False,
    ) -> Curve:
        """Solve for new quotes; raises CurveError where there is no curve."""
        if not isinstance(quotes, np.ndarray):
            quotes = self.ordered(quotes)
        elif quotes.dtype.char == "d":
            quotes = quotes.copy()  # the curve keeps it, and the caller may change theirs
        else:
            quotes = np.array(quotes, np.float64)
        logs = empty(self._count + 1)
        slopes = empty((self._count, self._count)) if jacobian else NO_JACOBIAN
        if self._alone and quotes.shape == self._shape:
            ints, floats = self.arrays
            status = solve_one(ints, floats, self._offsets, quotes, logs, slopes)
        else:
            status = self._solve(quotes, curves, logs, slopes)
        if status:
            raise failure(self, quotes, curves, status)
        if not self._others:
            return Curve(self.frame, logs, quotes, slopes if jacobian else None)
        others = tuple(curves[name] for name in self._others)
        return Curve(self.frame, logs, quotes, slopes if jacobian else None, others)

    def _solve(self, quotes, curves, logs, slopes) -> int:
        offsets = self.offsets(curves) if self._others else self._offsets
        if quotes.shape != self._shape:
            return -1
        if self.is_local:
            return _local.solve_one(*self.arrays, offsets, quotes, logs, slopes)
        return self._solve_global(offsets, quotes, logs, slopes)

    def solves(self, quotes: np.ndarray, curves: Mapping[str, Curve] | None = None) -> bool:
        """Return whether there is a curve for these quotes."""
        return self._solve(quotes, curves, np.empty(len(self.quote_ids) + 1), NO_JACOBIAN) == 0

    def with_instruments(self, instruments: Sequence[Instrument]) -> "CurvePlan":
        """Return the plan of other instruments on the same day, conventions and fixings."""
        market = self.market
        return CurvePlan(market.as_of, instruments, self.config, market.calendars, market.fixings)

    def _solve_global(self, offsets, quotes, logs, slopes) -> int:
        """Start from the log-linear curve on the last dates, read at the nodes."""
        start = np.empty(logs.shape[0])
        status = _local.solve_one(*self.arrays, offsets, quotes, start, NO_JACOBIAN)
        if status:
            return status
        logs[:] = start
        if self._start_nodes != self.frame.node_dates:
            at = np.array(self._start_nodes, np.float64) - self.frame.as_of
            aux = np.zeros((2, at.shape[0]))
            _interpolate.read(0, 0, at / 365.0, start, aux, self.frame.times, logs)
        return _global.solve_global(
            self._settings, *self._global_arrays, offsets, self.frame.times, self._dates,
            self._slopes, quotes, logs, slopes,
        )  # fmt: skip

    def scenarios(
        self, quotes: np.ndarray, curves: Mapping[str, Curve] | None = None
    ) -> np.ndarray:
        """Return (s, n + 1) log discount factors for (s, n) quotes; each row as `rebuild` gives it.

        Local curves are solved in blocks of scenarios, the others one after another.
        """
        quotes = np.ascontiguousarray(quotes, np.float64)
        logs = np.empty((quotes.shape[0], len(self.quote_ids) + 1))
        if not self.is_local:
            for row, out in zip(quotes, logs, strict=True):
                out[:] = self.rebuild(row, curves).log_discounts
            return logs
        offsets = self.offsets(curves) if self._others else self._offsets
        status = np.empty(quotes.shape[0], np.int64)
        _local.solve_many(*self.arrays, offsets, quotes, logs, status)
        for row in np.flatnonzero(status):
            logs[row] = self.rebuild(quotes[row], curves).log_discounts
        return logs

    @property
    def other_names(self) -> tuple[str, ...]:
        """The curves this one is built on."""
        return tuple(self._others)

    def table(self, curves: Mapping[str, Curve], curve: Curve) -> tuple[list, tuple, np.ndarray]:
        """Return the (curve, date) table of all points, the rows over it, and its logs."""
        arrays, table = table_of(self.terms)
        known = {**curves, self.config.name: curve}
        logs = [known[name].log_discount_factors(np.array([date]))[0] for name, date in table]
        return table, arrays, np.array(logs, np.float64)

    def offsets(self, curves: Mapping[str, Curve] | None) -> np.ndarray:
        """Return what turns and the curves this one is built on add to the log of each point."""
        out = self._offsets.copy()
        for name, legs in self._others.items():
            if not curves or name not in curves:
                raise CurveError(
                    f"curve {self.config.name} is built on curve {name}, which was not "
                    "passed (curves)"
                )
            if curves[name].as_of != self.frame.as_of:
                raise CurveError(
                    f"curve {name} must be as of the same day as curve {self.config.name}"
                )
            points, dates, signs = (
                np.array(column, np.int64) for column in zip(*legs, strict=True)
            )
            np.add.at(out, points, signs * curves[name].log_discount_factors(dates))
        return out
