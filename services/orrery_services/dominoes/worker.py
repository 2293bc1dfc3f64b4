"""A process that runs jobs: python -m orrery_services.dominoes.worker, lines of JSON in and out.

    in    the fields of a Job
    out   {"began": task} before each that is computed, then {"done": {action: count}} or
          {"broke": reason, "again": whether what is outside (Postgres, a fact) was away}

It ends with its stdin. What goes wrong in a domino is a step of the record; a chain that cannot be
read is a reason for good, and what goes wrong outside one for which the job is tried again.
"""

import json
import os
import sys
from typing import Any, TextIO

import psycopg

from orrery_services import compiled, failpoints, log
from orrery_services.config import load_settings
from orrery_services.errors import OutsideError
from orrery_services.protocol.facts import BadFact

from . import running, steps

SERVICE = "domino-worker"


def main() -> int:
    """Answer jobs until stdin ends."""
    settings = load_settings()
    log.set_up("dominoes", settings.node, os.environ.get("ORRERY_LOG_LEVEL", "INFO"))
    failpoints.set_up(settings.node, SERVICE)
    compiled.keep_loops()
    answers = answers_alone()
    runner = None
    for line in sys.stdin:
        job = steps.Job(**json.loads(line))
        try:
            runner = runner or running.Runner(settings)
            done = runner.run(job, lambda task: _say(answers, began=task))
        except Exception as cause:
            again = isinstance(cause, (OutsideError, BadFact, psycopg.Error))
            _say(answers, broke=f"{type(cause).__name__}: {cause}", again=again)
            if runner is not None:
                runner.close()
            runner = None
            continue
        _say(answers, done=done.counts)
    return 0


def answers_alone() -> TextIO:
    """Return where answers go, and have whatever else prints, libraries in C too, go to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answers


def _say(answers: TextIO, **what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    raise SystemExit(main())
