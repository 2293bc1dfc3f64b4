"""python -m orrery_services.dominoes"""

from orrery_services.process import run

from . import app

if __name__ == "__main__":
    raise SystemExit(run("dominoes", app.main))
