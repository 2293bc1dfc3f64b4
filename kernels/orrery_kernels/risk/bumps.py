"""Moved quotes. A basis point is one in the rate: a price of a future moves by -0.01."""

import numpy as np

from orrery_kernels.curves.plan import CurvePlan
from orrery_kernels.errors import ParameterError

BASIS_POINT = 1e-4


def quote_moves(plan: CurvePlan) -> np.ndarray:
    """Return what one basis point in the rate of each instrument is in its quote."""
    return np.array([BASIS_POINT / one.scale for one in plan.equations])


def parallel_bump(plan: CurvePlan, quotes: np.ndarray, basis_points: float) -> np.ndarray:
    """Return quotes with every rate moved by the same number of basis points."""
    return quotes + basis_points * quote_moves(plan)


def bucket_bump(
    plan: CurvePlan, quotes: np.ndarray, quote_id: str, basis_points: float
) -> np.ndarray:
    """Return quotes with one rate moved."""
    if quote_id not in plan.quote_ids:
        raise ParameterError(
            f"quote_id must be one of {', '.join(plan.quote_ids)}, was {quote_id!r}"
        )
    bumped, place = quotes.copy(), plan.quote_ids.index(quote_id)
    bumped[place] += basis_points * quote_moves(plan)[place]
    return bumped
