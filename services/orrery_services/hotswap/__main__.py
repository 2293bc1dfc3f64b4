"""Start the controller of the hot swap: python -m orrery_services.hotswap."""

from ..process import run
from . import service

raise SystemExit(run("hotswap", service.main))
