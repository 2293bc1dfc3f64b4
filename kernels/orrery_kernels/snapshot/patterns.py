"""Which leaves a path means: "*" is any run of characters, "<chain>" a declared word."""

import re
from collections.abc import Mapping
from functools import lru_cache

from orrery_kernels.errors import SnapshotError

_WORD = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")


def fill_in(pattern: str, words: Mapping[str, str]) -> str:
    r"""Put declared words into a pattern. Raises SnapshotError for one that is not declared.

    >>> fill_in("state/<chain>/<symbol>", {"chain": "momentum", "symbol": "*"})
    'state/momentum/*'
    """
    missing = [word for word in _WORD.findall(pattern) if word not in words]
    if missing:
        raise SnapshotError(
            f"<{missing[0]}> in {pattern!r} must be declared, declared: {sorted(words) or 'none'}"
        )
    return _WORD.sub(lambda found: words[found[1]], pattern)


def is_plain(pattern: str) -> bool:
    """Return whether the pattern names one path and nothing else."""
    return "*" not in pattern


def fixed_part(pattern: str) -> str:
    """Return what every path that matches begins with.

    >>> fixed_part("quotes/USD-SOFR-*")
    'quotes/USD-SOFR-'
    """
    return pattern.split("*", 1)[0]


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    """Return whether a path is one that the pattern means.

    >>> matches("quotes/USD-*", "quotes/USD-SOFR-10Y"), matches("quotes/USD-*", "quotes/EUR")
    (True, False)
    """
    return _compiled(pattern).fullmatch(path) is not None
