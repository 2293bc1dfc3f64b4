"""`python -m orrery_services.stack supervise <home>`: what `make up` leaves running."""

import sys
from pathlib import Path

from ..errors import ServiceError
from .supervisor import supervise


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "supervise":
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    try:
        return supervise(Path(arguments[1]))
    except ServiceError as cause:
        print(f"supervise: {cause}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
