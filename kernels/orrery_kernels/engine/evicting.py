"""Running a batch over a state that evicts: as far as there is room, then room, then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orrery_kernels.engine import layout
from orrery_kernels.engine.program import native_call
from orrery_kernels.engine.words import Word

if TYPE_CHECKING:
    from orrery_kernels.engine.session import Session


def fold_evicting(session: Session, rows: int) -> None:
    """Fold up to the row that brings one symbol too many, evict, go on from that row.

    Where what is evicted is not taken, nothing of the batch is folded.
    """
    native_call("prepare")(session.address, 0, rows)
    before = session.words[int(Word.SYMBOLS)]
    reached = native_call("encode")(session.address, 0, rows)
    if reached == rows or session.state.on_evict is None:
        _fold_and_evict(session, reached, rows)
        return
    mark, ids = session.state.mark(), session.ids[:reached].copy()
    skipped = [args[layout.SKIPPED] for args in session.arguments]
    try:
        _fold_and_evict(session, reached, rows)
    except BaseException:
        session.state.back_to(mark)
        session.take_back(before, ids)
        for args, count in zip(session.arguments, skipped, strict=True):
            args[layout.SKIPPED] = count
        raise


def _fold_and_evict(session: Session, reached: int, rows: int) -> None:
    """Fold the rows; up to `reached` their symbols are known and have room."""
    encode, fold = native_call("encode"), native_call("run")
    low = 0
    while low < rows:
        fold(session.address, low, reached)
        session.state.saw(session.ids[low:reached])
        if reached < rows:
            session.grow_meanwhile()
        low, reached = reached, encode(session.address, reached, rows)
    native_call("finish")(session.address, 0, rows)
