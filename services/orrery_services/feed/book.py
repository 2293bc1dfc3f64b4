"""The best bid and ask of one level-2 book, as a venue tells it: a snapshot, then changes."""

from collections.abc import Iterable


class Book:
    """Price text -> size text, a side. The best price is looked for again only when it went."""

    def __init__(self, bids: Iterable[Iterable[str]], asks: Iterable[Iterable[str]]):
        self._sides = {"buy": _levels(bids), "sell": _levels(asks)}
        self._best = {side: self._find(side) for side in self._sides}

    def change(self, changes: Iterable[tuple[str, str, str]]) -> bool:
        """Apply (side, price, size); size 0 removes. Return whether the best of a side changed."""
        before = self.best()
        for side, price, size in changes:
            levels = self._sides[side]
            if float(size) == 0:
                levels.pop(price, None)
                if price == self._best[side]:
                    self._best[side] = self._find(side)
                continue
            levels[price] = size
            best = self._best[side]
            if best is None or _better(side, price, best):
                self._best[side] = price
        return self.best() != before

    def _find(self, side: str) -> str | None:
        pick = max if side == "buy" else min
        return pick(self._sides[side], key=float, default=None)

    def best(self) -> dict[str, str] | None:
        """Return the fields of a quote, or None while a side is empty."""
        bid, ask = self._best["buy"], self._best["sell"]
        if bid is None or ask is None:
            return None
        return {
            "bid": bid,
            "ask": ask,
            "bid_size": self._sides["buy"][bid],
            "ask_size": self._sides["sell"][ask],
        }


def _levels(rows: Iterable[Iterable[str]]) -> dict[str, str]:
    return {price: size for price, size, *_ in rows if float(size) > 0}


def _better(side: str, price: str, than: str) -> bool:
    return float(price) > float(than) if side == "buy" else float(price) < float(than)
