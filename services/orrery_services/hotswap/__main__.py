"""Start the controller of the hot swap: python -m orrery_services.hotswap."""

from ..lean import without


def main() -> int:
    """Run it without what only people at a terminal need."""
    without("rich")
    from ..process import run
    from . import service

    return run("hotswap", service.main)


raise SystemExit(main())
