"""Files as lines or records: opened here, read by the adapters of `steps`."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ConfigError
from . import quotes, steps

LINE_BYTES_MAX = 16 * 1024 * 1024  # a snapshot of a deep book is one line
LINES = {
    "binance": steps.binance,
    "coinbase": steps.coinbase,
    "jsonl": steps.jsonl,
    "ore": quotes.ore,
}
TABLES = {"csv": steps.records, "curves": quotes.curves}
FORMATS = (*LINES, *TABLES, "parquet")
_UNREADABLE = (OSError, EOFError, zlib.error, pa.ArrowException, csv.Error, UnicodeDecodeError)
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def rows(path: Path, form: str, venue: str | None) -> Iterator[steps.Row | steps.Skipped]:
    """Yield what a file says. Raises ConfigError when it cannot be read."""
    if form not in FORMATS:
        raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, was {form!r}")
    try:
        if form == "parquet":
            yield from steps.records(_records(path), venue)
        elif form in TABLES:
            with _open(path) as file:
                text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
                yield from TABLES[form](csv.DictReader(text), venue)
        else:
            with _open(path) as file:
                yield from LINES[form](_lines(file), venue)
    except _UNREADABLE as cause:
        raise ConfigError(f"{path} must be a readable file of {form}, but: {cause}") from cause


def guess(path: Path) -> str:
    """Return the format that a file's name shows. Raises ConfigError when it shows none."""
    for suffix in reversed(path.suffixes):
        if suffix in _ENDINGS:
            return _ENDINGS[suffix]
    raise ConfigError(f"--format must be given for {path.name}: one of {', '.join(FORMATS)}")


def _open(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _lines(file: io.BufferedIOBase) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def _records(path: Path) -> Iterator[dict]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
        names = batch.schema.names
        columns = [_nanoseconds(column) for column in batch.columns]
        for cells in zip(*(column.to_pylist() for column in columns), strict=True):
            yield dict(zip(names, cells, strict=True))


def _nanoseconds(column: pa.Array) -> pa.Array:
    """A column of timestamps as integers: nanoseconds do not survive Python's datetime."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    return column
