"""Streams that the services add to the lab: from files and from the log."""

import numpy as np
import orrery_services.streams  # noqa: F401 - gives Stream its sources
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from orrery_kernels import Stream, ewma


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
