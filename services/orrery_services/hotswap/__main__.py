"""python -m orrery_services.hotswap"""

from orrery_services.process import run

from . import service

if __name__ == "__main__":
    raise SystemExit(run("hotswap", service.main))
