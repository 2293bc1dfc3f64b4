"""What a chain of [dominoes] may say, whoever runs it, and what its tasks may be called, so that
their results can be asked for by name."""

from ..errors import ConfigError

SWAPPED = ("container", "pod")  # run_in of the hot swap's chains
CHAIN_KEYS = ("tasks", "run_in", "modules", "mode")
TAG = "tag/"  # a tag is a ref below it
AT = "@"  # between the name of a ref and the number of its move
RUN = "run/"  # a swapped run is asked for so
COLON = ":"  # between a snapshot and a path


def check_task_name(chain: str, name: str) -> None:
    """Raise ConfigError for a name that means something else.

    >>> check_task_name("rates", "curve/USD-SOFR")
    """
    if name.startswith((TAG, RUN)) or AT in name or COLON in name:
        raise ConfigError(
            f"a task's name must not begin with {TAG!r} or {RUN!r} nor hold {AT!r} or {COLON!r}: "
            f"names of snapshots and runs do, was {name!r} (dominoes.{chain})"
        )
