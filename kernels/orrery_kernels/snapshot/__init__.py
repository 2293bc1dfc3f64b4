"""The frozen market: names for bytes, trees of leaves, snapshots, and decisions about them."""

from typing import Any


def compiled() -> tuple[Any, ...]:
    """Return the functions that numba compiles when first used, some seconds in all.

    The lab keeps nothing on disk. A process that may write calls `enable_caching()` on each before
    it uses them, with NUMBA_CACHE_DIR set.
    """
    from orrery_kernels.snapshot import buckets, digest

    return digest._lanes, buckets._measure, buckets._scatter, buckets._gather
