"""Names that move: `origin/name` points at a digest, moves by compare-and-set, keeps its history.

Each origin moves its own refs. A bare `name@latest` is answered by a rule over all that is held, so
that nodes which hold the same give the same answer without asking each other.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from orrery_kernels.errors import SnapshotError


class Ref(NamedTuple):
    """One move of a ref. number: of the cut its target belongs to; moves count from 1."""

    origin: str
    name: str
    target: bytes
    number: int
    move: int


def move(
    history: Iterable[Ref],
    origin: str,
    name: str,
    expected: bytes | None,
    target: bytes,
    number: int,
) -> Ref:
    """Return the next move of origin/name. Raises SnapshotError when it is not where expected.

    history: the moves held of this ref, in any order. expected: its target now, None if it is new.
    """
    held = max(
        (ref for ref in history if (ref.origin, ref.name) == (origin, name)),
        key=lambda ref: ref.move,
        default=None,
    )
    now = held.target if held else None
    if now != expected:
        raise SnapshotError(
            f"{origin}/{name} must be at {_short(expected)} to move, is at {_short(now)}: somebody "
            f"moved it first; read it again"
        )
    return Ref(origin, name, target, number, held.move + 1 if held else 1)


def follow(
    standing: Iterable[Ref], origin: str, name: str, target: bytes, number: int
) -> Ref | None:
    """Return the move by which origin/name goes to the answer found at a cut; None: it stays.

    standing: the last move of every origin. A ref moves when its answer is another one, never back
    to an earlier cut. It moves to the same answer again when `name@latest` would else be an answer
    that another origin found before this cut: origins that miss cuts need not agree in between.
    """
    named = [ref for ref in standing if ref.name == name]
    own = next((ref for ref in named if ref.origin == origin), None)
    made = Ref(origin, name, target, number, own.move + 1 if own else 1)
    if own is None:
        return made
    if _order(made) <= _order(own):
        return None
    latest = max(named, key=_order)
    behind = latest.target != target and _order(latest) < _order(made)
    return made if own.target != target or behind else None


def resolve(spec: str, refs: Iterable[Ref]) -> Ref:
    """Return what `origin/name`, `name` or `name@latest` points at, the same on every node.

    An origin's ref is its last move. Among origins the greatest cut wins, then the greatest digest.

    >>> a, b = Ref("n1", "curve/X", b"1" * 32, 7, 1), Ref("n2", "curve/X", b"2" * 32, 6, 9)
    >>> resolve("curve/X@latest", [a, b]).origin
    'n1'
    """
    name, _, which = spec.partition("@")
    if which not in ("", "latest"):
        raise SnapshotError(f"after '@' must come 'latest', was {which!r} ({spec})")
    last: dict[tuple[str, str], Ref] = {}
    for ref in refs:
        key = (ref.origin, ref.name)
        if key not in last or last[key].move < ref.move:
            last[key] = ref
    found = [ref for (_, known), ref in last.items() if known == name]
    found = found or [ref for ref in last.values() if f"{ref.origin}/{ref.name}" == name]
    if found:
        return max(found, key=_order)
    known = sorted(
        {ref.name for ref in last.values()} | {f"{r.origin}/{r.name}" for r in last.values()}
    )
    near = get_close_matches(name, known, 3, 0.4) or known[:5]
    raise SnapshotError(f"there is no ref {name!r}; nearest: {', '.join(near) or 'none'}")


def _order(ref: Ref) -> tuple[int, bytes]:
    return ref.number, ref.target


def find_by_prefix(prefix: str, digests: Iterable[bytes]) -> bytes:
    """Return the one digest whose hex begins with `prefix`, as people type it.

    Raises SnapshotError when none does, or several, and names the nearest.
    """
    known = sorted({digest.hex() for digest in digests})
    found = [name for name in known if name.startswith(prefix.lower())] if prefix else []
    if len(found) == 1:
        return bytes.fromhex(found[0])
    if found:
        some = ", ".join(name[:12] for name in found[:5])
        raise SnapshotError(f"{prefix!r} must name one object, {len(found)} begin so: {some}")
    near = sorted(known, key=lambda name: -_shared(name, prefix.lower()))[:3]
    some = ", ".join(name[:12] for name in near) or "none"
    raise SnapshotError(f"no object begins with {prefix!r}; nearest: {some}")


def _shared(one: str, other: str) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def _short(target: bytes | None) -> str:
    return target.hex()[:12] if target else "nothing"
