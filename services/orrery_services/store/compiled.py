"""What the lab compiles for trees of snapshots, kept on disk: seconds once, not at every start."""

from pathlib import Path

import structlog

log = structlog.get_logger()


def ready() -> None:
    """Compile or load what trees need, so that nobody waits for it at the first use."""
    import numba
    from orrery_kernels import snapshot
    from orrery_kernels.engine import loader
    from orrery_kernels.snapshot.tree import CANONICAL, build

    for folder in loader.cache_folders()[:1]:
        try:
            _keep_in(numba, folder / "numba", snapshot.compiled())
        except (OSError, RuntimeError) as cause:
            log.info("compiled trees are not kept", reason=str(cause))
    build(["a"], [b"1"], CANONICAL)


def _keep_in(numba: object, folder: Path, functions: tuple) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numba.config.CACHE_DIR = str(folder)
    for function in functions:
        function.enable_caching()
