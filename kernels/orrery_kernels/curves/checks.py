"""What can be known to be wrong with a set of instruments before any quote is seen."""

from collections.abc import Callable, Sequence

from orrery_kernels.curves.config import CurveConfig
from orrery_kernels.curves.dates import iso
from orrery_kernels.curves.equations import Equation
from orrery_kernels.curves.system import System
from orrery_kernels.errors import CurveError


def check_pillars(equations: Sequence[Equation], as_of: int, config: CurveConfig) -> None:
    """Refuse no instruments, two of one id, two of one pillar, and pillars that have passed."""
    name = config.name
    if not equations:
        raise CurveError(f"a curve needs at least one instrument, had none (curve {name})")
    seen: dict[str, Equation] = {}
    pillars: dict[tuple[str, int], Equation] = {}
    for one in equations:
        if one.id in seen:
            raise CurveError(
                f"ids of instruments must differ, {one.id} is there twice (curve {name})"
            )
        seen[one.id] = one
        for pillar, date in (("last", one.last), (config.pillar, one.maturity)):
            if pillar == "last":
                date = one.last
            if date <= as_of:
                raise CurveError(
                    f"a pillar must be after {iso(as_of)}, that of {one.id} is {iso(date)} "
                    f"(curve {name}; drop {one.id})"
                )
            other = pillars.setdefault((pillar, date), one)
            if other is not one:
                raise CurveError(
                    f"pillars must differ, {other.id} and {one.id} both have {iso(date)} "
                    f"(curve {name}; drop one of them)"
                )


def check_sensitivity(
    equations: Sequence[Equation], system: System, weights: Callable[[int], dict[int, float]]
) -> None:
    """Refuse an instrument whose value does not depend on the node it should set.

    That is a swap whose last accrual ends before the node before it, so that its own node only
    discounts its last coupon: no value of the node, or any, reprices it.
    """
    order = sorted(range(len(equations)), key=lambda i: equations[i].last)
    for node, i in enumerate(order, 1):
        own_legs, has_growth, has_own = set(), False, False
        for point, _, _ in system.rows[i]:
            legs = system.legs[point]
            mine = {leg for leg in legs if leg[0] == system.own and node in weights(leg[1])}
            own_legs |= mine
            has_own |= bool(mine)
            has_growth |= bool(mine) and len(legs) > 1
        only_discounts = len(own_legs) == 1 and min(sign for _, _, sign in own_legs) > 0
        if not has_own or (has_growth and only_discounts):
            one = equations[i]
            raise CurveError(
                f"zero_sensitivity_pillar: {one.id} accrues until {iso(one.maturity)}, not "
                f"beyond the pillar of {equations[order[node - 2]].id}, so its own pillar "
                f"{iso(one.last)} cannot reprice it (curve {system.own}; drop {one.id})"
            )
