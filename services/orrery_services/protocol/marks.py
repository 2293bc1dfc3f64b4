"""How far a node holds the answers, and which number a fact gets. Decisions only: the store acts on
them.

Whoever writes facts of a stream holds that stream's lock until its transaction is committed. So
what is read under the lock (held facts, the last number, the mark) is what is there when the new
rows become visible.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from . import facts, vectors
from .facts import Fact, Place
from .fold import Position
from .rules import ALL_RULES, Rules


class Mark(NamedTuple):
    """Every input chunk and every result chunk below it is held, for one chain and partition."""

    log_id: str = ""  # of `ticks`; empty: nothing yet
    offset: int = 0  # of the next message
    ordinal: int = 0  # of the next accepted message
    vector: vectors.Vector = {}  # noqa: RUF012 - nobody changes a vector in place

    def position(self) -> Position:
        return Position(self.offset, self.ordinal, self.vector)


class Link(NamedTuple):
    """What an input chunk says about its place: enough to move a mark past it."""

    place: Place
    ordinal: int
    changed: vectors.Vector


class Numbered(NamedTuple):
    oseq: int
    fact: Fact


class Divergence(NamedTuple):
    """One natural key, two contents."""

    held: bytes
    came: Fact


class Writing(NamedTuple):
    """What a transaction has to do with the facts it was given."""

    insert: list[Numbered]
    held: list[Fact]  # the same content is there already
    divergences: list[Divergence]


def link_of(key: str, payload: bytes) -> Link:
    """Return what an input chunk says about its place."""
    meta = facts.meta_of(payload)
    return Link(facts.place_of(key), meta["ordinal"], meta["changed"])


def advance(
    mark: Mark, links: Iterable[Link], results: Collection[Place], rules: Rules = ALL_RULES
) -> Mark:
    """Return the mark after these input chunks and results of one chain and partition are held.

    It moves over the ordinals, one by one, while both chunks of the message are held, whoever
    computed them. A hole stops it; what lies beyond waits.
    """
    ahead = sorted((link for link in links if link.ordinal >= mark.ordinal), key=_in_log_order)
    for link in ahead:
        if rules.mark_counts_ordinals and rules.mark_is_contiguous and link.ordinal != mark.ordinal:
            break
        if rules.mark_needs_both_chunks and link.place not in results:
            if rules.mark_is_contiguous:
                break
            continue
        place, vector = link.place, {**mark.vector, **link.changed}
        mark = Mark(place.log_id, place.offset + 1, link.ordinal + 1, vector)
    return mark


def _in_log_order(link: Link) -> tuple[int, int]:
    return link.ordinal, link.place.offset


def number(given: Iterable[Fact], held: Mapping[str, bytes], last: int) -> Writing:
    """Return what to insert, numbered gapless behind `last`; only rows really inserted get a
    number.

    `held` maps the natural keys that are there already to the id under each; all facts are of one
    stream, and a key that comes twice counts once.
    """
    seen, insert, again, divergences = dict(held), [], [], []
    for fact in given:
        there = seen.get(fact.key)
        if there is None:
            last += 1
            insert.append(Numbered(last, fact))
            seen[fact.key] = fact.id
        elif there == fact.id:
            again.append(fact)
        else:
            divergences.append(Divergence(there, fact))
    return Writing(insert, again, divergences)


def newest(marks: Iterable[Mark]) -> Mark:
    """Return the mark furthest on: where a packer may begin to fold."""
    return max(marks, key=lambda mark: mark.ordinal, default=Mark())
