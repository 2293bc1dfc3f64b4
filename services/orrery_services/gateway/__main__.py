"""python -m orrery_services.gateway"""

from orrery_services.process import run

from . import app

if __name__ == "__main__":
    raise SystemExit(run("gateway", app.main))
