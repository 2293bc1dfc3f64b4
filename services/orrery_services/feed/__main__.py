"""python -m orrery_services.feed --demo"""

from orrery_services.process import run

from . import app

if __name__ == "__main__":
    raise SystemExit(run("feed", app.main))
