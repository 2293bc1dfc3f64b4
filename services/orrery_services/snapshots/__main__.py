"""python -m orrery_services.snapshots"""

from orrery_services.process import run

from . import app

if __name__ == "__main__":
    raise SystemExit(run("snapshots", app.main))
