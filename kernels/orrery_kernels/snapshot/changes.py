"""Whether a pattern can mean a leaf that changed, asked of a Bloom filter and of nothing else.

The filter holds every changed path and what it begins with, up to each separator: so patterns can
be asked as well as paths. No is certain, yes is wrong at the filter's rate.
"""

import re
from collections.abc import Iterable

from orrery_kernels.snapshot.bloom import Bloom, bloom_of
from orrery_kernels.snapshot.patterns import fixed_part, is_plain

_UP_TO_SEPARATOR = re.compile(r"[^/._:-]*[/._:-]")


def filter_of(paths: Iterable[str], rate: float) -> Bloom:
    """Return the filter over changed paths.

    >>> might_concern(filter_of(["quotes/USD-SOFR-5Y"], 1e-6), "quotes/USD-*")
    True
    >>> might_concern(filter_of(["quotes/USD-SOFR-5Y"], 1e-6), "quotes/EUR-*")
    False
    """
    names = {name: None for path in paths for name in (path, *_beginnings(path))}
    return bloom_of(list(names), rate)


def might_concern(changes: Bloom, pattern: str) -> bool:
    """Return False when a pattern certainly means no leaf that changed."""
    if is_plain(pattern):
        return changes.might_hold(pattern)
    begins = _beginnings(fixed_part(pattern))
    return changes.might_hold(begins[-1]) if begins else True


def _beginnings(text: str) -> list[str]:
    return [text[: found.end()] for found in _UP_TO_SEPARATOR.finditer(text)]
