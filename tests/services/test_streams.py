"""Streams that the services add to the lab: from files and from the log."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from orrery_kernels import Stream, ewma
from orrery_services import streams  # gives Stream its sources
from orrery_services.errors import OutsideError


@pytest.mark.parametrize("batch_size", [7, 10_000])
def test_parquet_files_stream_as_their_rows_do(tmp_path, batch_size):
    rng = np.random.default_rng(5)
    table = pa.table(
        {"symbol": [f"S{k}" for k in rng.integers(0, 3, 100)], "price": rng.normal(size=100)}
    )
    pq.write_table(table.slice(0, 40), tmp_path / "one.parquet", row_group_size=13)
    pq.write_table(table.slice(40), tmp_path / "two.parquet")
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]

    stream = Stream.from_parquet(paths, batch_size=batch_size).map(lambda b: ewma(b, alpha=0.1))

    want = ewma(table.combine_chunks(), alpha=0.1)
    for _ in range(2):  # a stream over files begins anew
        assert stream.to_table().combine_chunks().equals(want.combine_chunks())


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    pq.write_table(pa.table({"price": [1.0], "note": ["x"]}), tmp_path / "a.parquet")

    stream = Stream.from_parquet(tmp_path / "a.parquet", columns=["price"])

    assert stream.to_table().schema.names == ["price"]


def test_a_log_that_is_not_there_is_no_empty_stream(monkeypatch):
    """Of a topic that it does not know Kafka says that it has no partitions."""
    told = SimpleNamespace(topics={"ticks": SimpleNamespace(partitions={})})
    monkeypatch.setattr(streams, "admin", lambda _: SimpleNamespace(list_topics=lambda *_: told))

    with pytest.raises(OutsideError, match=r"ticks must be there.*`make up` makes it"):
        list(Stream.from_kafka("127.0.0.1:1"))
