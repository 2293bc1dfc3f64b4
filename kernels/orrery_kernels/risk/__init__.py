"""What a book is worth and what moves it: values, key-rate ladders, DV01, gamma, bumps."""

from orrery_kernels.risk.book import SwapBook, SwapTrade, book_value
from orrery_kernels.risk.bumps import bucket_bump, parallel_bump
from orrery_kernels.risk.ladder import Ladder, dv01, gamma, ladder, scenario_values

__all__ = [
    "Ladder", "SwapBook", "SwapTrade", "book_value", "bucket_bump", "dv01", "gamma", "ladder",
    "parallel_bump", "scenario_values",
]  # fmt: skip
