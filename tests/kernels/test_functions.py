"""Functions of the catalog that are no folds over ticks: what they refuse, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import orrery_kernels
import pytest
from orrery_kernels.errors import ParameterError

NAN = float("nan")
VENUE = {"spread": 1.0, "depth": 2.0, "fee": 0.0, "latency": 1.0}

# name -> a call that is right
RIGHT: dict[str, dict[str, Any]] = {
    "optimal_ac_schedule": {
        "quantity": 1_000.0, "horizon": 1.0, "sigma": 0.3, "gamma": 0.1, "eta": 0.1,
        "risk_aversion": 1e-3,
    },
    "schedule_simulator": {
        "schedule": [1.0, 1.0], "horizon": 1.0, "sigma": 0.3, "gamma": 0.1, "eta": 0.1,
    },
    "smart_order_router": {
        "side": "buy", "quantity": 7.0, "venues": ["X", "Y"], "prices": [1.0, 2.0],
        "sizes": [5.0, 5.0], "fees": [0.0, 0.0],
    },
    "exposure_limits": {"weights": np.array([0.5, 0.5]), "sectors": ["a", "b"]},
    "ewcov_matrix": {"returns": np.ones((4, 2))},
    "liquidation_density": {
        "entry": np.array([100.0, 90.0]), "leverage": np.array([10.0, 5.0]),
        "open_interest": np.array([1.0, 1.0]), "is_long": np.array([True, False]),
    },
    "venue_score": {"venues": {"X": VENUE, "Y": {**VENUE, "fee": 1.0}}},
    "dominance_index": {"caps": {"A": 1.0, "B": 3.0}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("optimal_ac_schedule", {"quantity": NAN}, "quantity must be finite, was nan"),
        ("optimal_ac_schedule", {"sigma": float("inf")}, "sigma must be finite, was inf"),
        ("optimal_ac_schedule", {"sigma": -1.0}, r"must not be negative, was -1.0, 0.001"),
        ("optimal_ac_schedule", {"quantity": "many"}, "quantity must be finite, was 'many'"),
        ("optimal_ac_schedule", {"slices": 1.5}, r"slices must be a whole number .* was 1.5"),
        ("optimal_ac_schedule", {"slices": 10**9}, "slices must be at most 1000000, was 10{9}"),
        (
            "schedule_simulator",
            {"schedule": [1.0, NAN]},
            r"schedule must be finite, was \[1.0, nan",
        ),
        ("smart_order_router", {"prices": [NAN, 2.0]}, r"prices must be finite, was \[nan, 2.0\]"),
        ("smart_order_router", {"prices": [1.0]}, "of one length, were 2, 1, 2, 2"),
        ("exposure_limits", {"weights": np.array([0.5, NAN])}, "weights must be finite"),
        ("exposure_limits", {"name_max": -0.1}, r"name_max must be in \[0, inf\), was -0.1"),
        ("exposure_limits", {"net_max": NAN}, r"net_max must be in \[0, inf\), was nan"),
        ("ewcov_matrix", {"start": np.eye(3)}, r"start must be \(2, 2\), .* was \(3, 3\)"),
        ("liquidation_density", {"entry": np.array([NAN, 1.0])}, "entry must be finite"),
        ("liquidation_density", {"leverage": np.array([0.5, 2.0])}, "at least 1 .* was 0.5 and"),
        ("liquidation_density", {"bins": 0}, "bins must be a whole number .* was 0"),
        ("venue_score", {"venues": {}}, r"there must be venues, .* was \[\]"),
        ("venue_score", {"weights": {"speed": 1.0}}, "weights of spread, depth, fee, latency only"),
        (
            "venue_score",
            {"venues": {"X": {**VENUE, "fee": NAN}}},
            "fee of venue 'X' must be finite",
        ),
        ("dominance_index", {"caps": {"A": "big"}}, r"caps must be finite, was \['big'\]"),
    ],
)
def test_what_is_wrong_is_said_with_its_name_and_what_it_was(name, given, said):
    function = getattr(orrery_kernels, name)
    function(**RIGHT[name])

    with pytest.raises(ParameterError, match=said):
        function(**{**RIGHT[name], **given})
