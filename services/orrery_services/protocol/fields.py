"""What one field of a row must be: the definition that every faster reader has to equal.

A row is a JSON object. Numbers may be written as JSON numbers or as decimal text; unknown fields
are allowed. These rules are part of the protocol: every node must refuse the same rows, so none of
them is a setting.
"""

import re
from functools import lru_cache

import msgspec
from orrery_kernels.columns import BUY, SELL, SIDE_UNKNOWN

SYMBOL_BYTES_MAX = 256
TRADE_ID_BYTES_MAX = 256
NUMBER_MIN = 1e-15  # of what must be positive: smaller or larger than any market, far from overflow
NUMBER_MAX = 1e15
TIME_NS_MAX = 2**63 - 1

SIDES = {None: SIDE_UNKNOWN, "buy": BUY, "sell": SELL}
UNAVAILABLE = "__debezium_unavailable_value"  # Debezium's stand-in for a value that it did not see
_SYMBOL = re.compile(r"[A-Za-z0-9._:/+=^@#$&%*!~|-]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_EXACT_MAX = 2**53  # the largest integer below which float64 holds every one
_SHOWN_MAX = 40

# What a decoder of JSON may raise on bytes of others.
UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class Refused(ValueError):
    """The row breaks a rule; the text says which, in plain words."""


def shown(value: object) -> str:
    """Return a value as a person may read it in a reason, cut short."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}… ({len(text)} characters)"


@lru_cache(maxsize=1 << 16)
def symbol_problem(symbol: str) -> str | None:
    """Return why a symbol is refused, or None.

    >>> symbol_problem("BTCUSDT.BINANCE")
    >>> symbol_problem("")
    'symbol must not be empty'
    """
    if not symbol:
        return "symbol must not be empty"
    if len(symbol.encode()) > SYMBOL_BYTES_MAX:
        return f"symbol must have at most {SYMBOL_BYTES_MAX} bytes, was {shown(symbol)}"
    if not _SYMBOL.fullmatch(symbol):
        return (
            f"symbol must be ASCII letters, digits and ._:/+=^@#$&%*!~|- only, was {shown(symbol)}"
        )
    if symbol == UNAVAILABLE:
        return "symbol must be known, was Debezium's mark of a value it did not see"
    return None


def _value(name: str, raw: bytes) -> object:
    if not raw:
        raise Refused(f"{name} is missing")
    try:
        value = msgspec.json.decode(raw)
    except UNREADABLE as cause:
        raise Refused(f"{name} must be a value of JSON, was {shown(raw)}: {cause}") from cause
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_MAX:
        return int(value)  # 7.0 is how some languages write 7
    return value


def read_symbol(raw: bytes) -> str:
    value = _value("symbol", raw)
    if not isinstance(value, str):
        raise Refused(f"symbol must be text, was {shown(raw)}")
    if problem := symbol_problem(value):
        raise Refused(problem)
    return value


def read_number(name: str, raw: bytes) -> float:
    """Return the nearest float64 of a JSON number or of decimal text."""
    value = _value(name, raw)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value) + 0.0  # no negative zero
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) + 0.0
        except OverflowError:
            raise Refused(f"{name} must be at most {NUMBER_MAX:g}, was {shown(raw)}") from None
    raise Refused(f"{name} must be a decimal number, was {shown(raw)}")


def read_positive(name: str, raw: bytes) -> float:
    number = read_number(name, raw)
    if not NUMBER_MIN <= number <= NUMBER_MAX:
        raise Refused(f"{name} must be from {NUMBER_MIN:g} to {NUMBER_MAX:g}, was {shown(raw)}")
    return number


def read_amount(name: str, raw: bytes) -> float:
    """Return a size of a quote: zero is allowed, because one side of a book may be empty."""
    number = read_number(name, raw)
    if number != 0 and not NUMBER_MIN <= number <= NUMBER_MAX:
        raise Refused(
            f"{name} must be 0 or from {NUMBER_MIN:g} to {NUMBER_MAX:g}, was {shown(raw)}"
        )
    return number


def read_signed(name: str, raw: bytes) -> float:
    number = read_number(name, raw)
    if not -NUMBER_MAX <= number <= NUMBER_MAX:
        raise Refused(f"{name} must be from -{NUMBER_MAX:g} to {NUMBER_MAX:g}, was {shown(raw)}")
    return number


def read_side(raw: bytes) -> str | None:
    value = _value("side", raw) if raw else None
    if isinstance(value, str | None) and value in SIDES:
        return value
    raise Refused(f'side must be "buy" or "sell" or absent, was {shown(raw)}')


def read_time(name: str, raw: bytes) -> int | None:
    """Return UTC nanoseconds since 1970 from an integer or its text, or None when absent."""
    value = _value(name, raw) if raw else None
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= TIME_NS_MAX:
        raise Refused(f"{name} must be an integer of nanoseconds since 1970, was {shown(raw)}")
    return value


def read_trade_id(raw: bytes) -> str | None:
    value = _value("trade_id", raw) if raw else None
    if value is None:
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise Refused(f"trade_id must be text or an integer, was {shown(raw)}")
    text = str(value)
    if len(text.encode()) > TRADE_ID_BYTES_MAX:
        raise Refused(f"trade_id must have at most {TRADE_ID_BYTES_MAX} bytes, was {shown(text)}")
    return text
