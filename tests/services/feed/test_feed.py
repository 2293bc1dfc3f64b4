"""Captures of exchanges, tables and the generated market, as rows of the contract."""

import gzip
import itertools
import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from orrery_services import bus, metrics
from orrery_services.errors import ConfigError
from orrery_services.feed import app, demo, files, steps
from orrery_services.protocol import rows

SPOT_TRADE = (
    b'1680652800004107 {"stream":"abcusdt@trade","data":{"e":"trade","E":1680652800000,'
    b'"s":"ABCUSDT","t":77,"p":"28165.47000000","q":"0.00056000","T":1680652799999,"m":true,"M":true}}'
)
FUTURES_TRADE = (
    b'1721347021434994132 {"stream":"abcusdt@trade","data":{"e":"trade","E":1721347022956,'
    b'"T":1721347022956,"s":"ABCUSDT","t":78,"p":"63943.90","q":"0.003","X":"MARKET","m":false}}'
)
SPOT_QUOTE = (
    b'1680652800004231 {"stream":"abcusdt@bookTicker","data":{"u":1,"s":"ABCUSDT",'
    b'"b":"1.5","B":"7.9","a":"1.6","A":"3.2"}}'
)


def told(found) -> list:
    return [json.loads(one.value) if isinstance(one, steps.Row) else one.reason for one in found]


def test_a_binance_trade_keeps_its_decimals_and_names_the_aggressor():
    spot, futures = told(steps.binance([SPOT_TRADE, FUTURES_TRADE]))

    assert spot == {
        "symbol": "ABCUSDT.BINANCE", "price": "28165.47000000", "size": "0.00056000",
        "side": "sell", "ts_event_ns": 1680652799999000000, "ts_recv_ns": 1680652800004107000,
        "trade_id": 77,
    }  # fmt: skip
    assert futures["side"] == "buy"


def test_microseconds_of_one_year_and_nanoseconds_of_the_next_become_nanoseconds():
    received = [row["ts_recv_ns"] for row in told(steps.binance([SPOT_TRADE, FUTURES_TRADE]))]

    assert received == [1680652800004107000, 1721347021434994132]


def test_the_same_ticker_on_two_venues_is_two_symbols():
    found = list(steps.binance([SPOT_TRADE, FUTURES_TRADE, SPOT_QUOTE]))

    assert [row.key for row in found] == [
        "ABCUSDT.BINANCE", "ABCUSDT.BINANCE_USDM", "ABCUSDT.BINANCE",
    ]  # fmt: skip
    assert next(steps.binance([SPOT_TRADE], "OTHER")).key == "ABCUSDT.OTHER"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"1 {",
        b"1 []",
        b"x {}",
        b'1 {"stream":"a@trade","data":{}}',
        b"1 null",
        b"\xff \xff",
        pytest.param(b"1: " + b"[" * 200_000, id="deep"),
        b'1: {"type":["a"]}',
    ],
)
def test_a_broken_line_is_left_out_with_a_reason_and_costs_no_other(line):
    found = told(steps.binance([line, SPOT_TRADE])) + told(steps.coinbase([line]))

    assert any(isinstance(one, dict) and one["trade_id"] == 77 for one in found)
    assert all(isinstance(one, dict | str) for one in found), "reasons are counted as text"


COINBASE = [
    b"wss://ws-feed <-> 1618677816.8",
    b'1618677817.06: {"type":"subscriptions","channels":[]}',
    b'1618677817.077736: {"type":"snapshot","product_id":"A-B","asks":[["14.8","12"],["14.9","1"]],'
    b'"bids":[["14.7","3"],["14.6","0.5"]]}',
    b'1618677817.1: {"type":"l2update","product_id":"A-B","changes":[["buy","14.5","9"]],'
    b'"time":"2021-04-17T16:43:37.075687Z"}',
    b'1618677817.2: {"type":"l2update","product_id":"A-B","changes":[["sell","14.8","0.0"]],'
    b'"time":"2021-04-17T16:43:37.075687Z"}',
    b'1618677817.3: {"type":"match","trade_id":5,"side":"sell","size":"985","price":"0.00001305",'
    b'"product_id":"A-B","time":"2021-04-17T16:43:37.089723Z"}',
]


def test_coinbase_shows_the_best_of_its_book_and_the_makers_side():
    found = told(steps.coinbase(COINBASE))

    assert found[:2] == ["a line of the recorder", "subscriptions"]
    assert (found[2]["bid"], found[2]["ask"], found[2]["ts_recv_ns"]) == (
        "14.7", "14.8", 1618677817077736000,
    )  # fmt: skip
    assert found[3] == "l2update below the best"
    assert (found[4]["ask"], found[4]["ask_size"]) == ("14.9", "1")
    assert (found[5]["side"], found[5]["ts_event_ns"]) == ("buy", 1618677817089723000)


def test_every_row_of_every_adapter_is_one_that_counts():
    found = [*steps.binance([SPOT_TRADE, FUTURES_TRADE, SPOT_QUOTE]), *steps.coinbase(COINBASE)]
    found += itertools.islice(demo.market(1, 1_700_000_000_000_000_000, 200), 500)

    for one in found:
        if isinstance(one, steps.Row):
            assert rows.read_row(rows.KIND_OF_TOPIC[one.topic], one.value).symbol == one.key


def test_json_lines_go_as_they_stand_and_what_is_none_is_sent_to_be_refused():
    lines = [
        b'{"symbol":"A.X","price":"1.50","size":1}\n',
        b'{"symbol":"A.X","bid":1}',
        b"oops",
        b"\n",
    ]

    found = list(steps.jsonl([*lines, b'{"symbol":"C","value":1}']))

    assert [(row.topic, row.key) for row in found] == [
        ("trades", "A.X"), ("quotes", "A.X"), ("trades", ""), ("market_quotes", "C"),
    ]  # fmt: skip
    assert found[0].value == lines[0].strip()


def test_csv_and_parquet_tables_say_the_same(tmp_path):
    (tmp_path / "t.csv").write_text(
        "symbol,price,size,side,ts_event_ns\nA.X,1.50,2,buy,1680652800000000\nB.X,3,4,,\n"
    )
    table = pa.table(
        {
            "symbol": ["A.X", "B.X"],
            "price": ["1.50", "3"],
            "size": ["2", "4"],
            "side": ["buy", None],
            "ts_event_ns": pa.array([1680652800000000, None], pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")

    from_csv = told(files.rows(tmp_path / "t.csv", files.guess(tmp_path / "t.csv"), None))
    from_parquet = told(files.rows(tmp_path / "t.parquet", "parquet", None))

    assert from_csv == from_parquet
    assert from_csv[0]["ts_event_ns"] == 1680652800000000000
    assert "side" not in from_csv[1]


@pytest.fixture
def table(tmp_path):
    """What a table of these bytes says."""

    def rows_of(data: bytes) -> list[steps.Row | steps.Skipped]:
        (tmp_path / "t.csv").write_bytes(data)
        return list(files.rows(tmp_path / "t.csv", "csv", None))

    return rows_of


def test_a_comma_behind_a_row_is_no_cell_and_a_cell_too_many_costs_its_row_alone(table):
    found = told(table(b"symbol,price,size\nA.X,1,2,\nB.X,1,2,3\nC.X,1,2\n"))

    row = {"price": "1", "size": "2"}
    assert found == [
        {"symbol": "A.X", **row}, "a row with more cells than columns", {"symbol": "C.X", **row},
    ]  # fmt: skip


def test_the_mark_that_excel_writes_before_a_table_is_no_part_of_its_first_column(table):
    (found,) = table(b"\xef\xbb\xbfsymbol,price,size\nA.X,1,2\n")

    assert (found.key, json.loads(found.value)["symbol"]) == ("A.X", "A.X")


def test_rows_of_a_table_with_columns_of_both_kinds_go_where_their_cells_belong(table):
    found = table(b"symbol,price,size,bid,ask,bid_size,ask_size\nA,1,2,,,,\nA,,,1,2,3,4\n")

    assert [row.topic for row in found] == ["trades", "quotes"]


@pytest.mark.parametrize("time", ["²", pytest.param("9" * 5000, id="long")])
def test_a_time_that_is_no_number_goes_as_it_stands_to_be_refused(table, time):
    (found,) = told(table(f"symbol,price,size,ts_event_ns\nA.X,1,2,{time}\n".encode()))

    assert found["ts_event_ns"] == time


def test_text_that_its_writer_called_binary_is_text(tmp_path):
    pq.write_table(pa.table({"symbol": pa.array([b"A.X"], pa.binary())}), tmp_path / "t.parquet")

    (found,) = files.rows(tmp_path / "t.parquet", "parquet", None)

    assert (found.key, json.loads(found.value)["symbol"]) == ("A.X", "A.X")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_archive_that_is_damaged_inside_says_so(tmp_path, form):
    data = bytearray(gzip.compress(bytes(range(256)) * 16))
    data[20:60] = b"\xff" * 40
    (tmp_path / "damaged.gz").write_bytes(data)

    with pytest.raises(ConfigError, match=r"damaged\.gz must be a readable file"):
        list(files.rows(tmp_path / "damaged.gz", form, None))


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b'{"a":1}\n' * 1000)[:-20])

    with pytest.raises(ConfigError, match=r"cut\.jsonl\.gz must be a readable file"):
        list(files.rows(cut, "jsonl", None))
    with pytest.raises(ConfigError, match="--format must be one of"):
        list(files.rows(cut, "xml", None))


def test_the_generated_market_is_the_same_for_the_same_seed():
    one, two, other = (
        list(itertools.islice(demo.market(seed, 10**18, 200), 2000)) for seed in (1, 1, 2)
    )

    assert one == two
    assert one != other
    assert len({row.key for row in one}) == len(demo.SYMBOLS) + len(demo.SWAPS)
    assert {row.topic for row in one} == {"trades", "quotes", "market_quotes"}
    ticks = [row for row in one if row.topic != "market_quotes"]
    assert ticks[200].recv_ns - ticks[0].recv_ns == 10**9


def test_a_repeated_file_goes_on_in_time():
    lines = [SPOT_TRADE, SPOT_QUOTE]

    found = list(itertools.islice(app.repeated(lambda: steps.binance(lines)), 6))

    received = [row.recv_ns for row in found]
    assert received == sorted(set(received))
    assert (
        json.loads(found[4].value)["ts_event_ns"] - json.loads(found[0].value)["ts_event_ns"]
        > 2 * 10**9
    )


def test_a_file_without_rows_is_not_repeated_for_ever():
    assert list(app.repeated(list)) == []


CURVES = (
    "DATE,CURRENCY,TERM,MONTHS,VALUE,DESC\n"
    '2024-05-10,USD,10Y,120,0.0450,"Par yields, as published"\n'
    "2024-05-10,USD-EUR,,0,1.0781,A bank\n"
    "2024-05-10,EUR,3M,3,-0.0042,A bank\n"
    "10 May,USD,10Y,120,0.0450,A bank\n"
)
ORE = """#artificial

20160205 MM/RATE/EUR/2D/1W -0.00258 # thin
20160205 FX/RATE/EUR/USD 1.119
no
"""


def test_files_of_curves_are_market_quotes_of_their_day(tmp_path):
    path = tmp_path / "curves.csv.gz"
    path.write_bytes(gzip.compress(CURVES.encode()))

    found = list(files.rows(path, "curves", None))

    assert told(found)[:3] == [
        {"symbol": "USD-GOVT-10Y", "value": "0.0450", "ts_event_ns": 1715299200000000000},
        {"symbol": "USD-EUR.FX", "value": "1.0781", "ts_event_ns": 1715299200000000000},
        {"symbol": "EUR-GOVT-3M", "value": "-0.0042", "ts_event_ns": 1715299200000000000},
    ]
    assert isinstance(found[3], steps.Skipped)
    assert {row.topic for row in found[:3]} == {"market_quotes"}


def test_market_files_name_each_quote_by_its_key(tmp_path):
    path = tmp_path / "market.txt"
    path.write_text(ORE)

    found = list(files.rows(path, "ore", "ORE"))

    assert [row.key for row in found[:2]] == ["MM/RATE/EUR/2D/1W.ORE", "FX/RATE/EUR/USD.ORE"]
    assert told(found)[0]["value"] == "-0.00258"
    assert isinstance(found[2], steps.Skipped) and len(found) == 3


def test_the_generated_market_quotes_every_swap_first_and_moves_two_a_second():
    found = list(itertools.islice(demo.market(7, 10**18, 200), 2000))

    swaps = [row for row in found if row.topic == "market_quotes"]
    seconds = (len(found) - len(swaps)) / 200
    assert swaps == found[: len(demo.SWAPS)] + [r for r in found[len(demo.SWAPS) :] if r in swaps]
    assert len(swaps) - len(demo.SWAPS) == 2 * int(seconds)
    assert all(0 < float(json.loads(row.value)["value"]) < 0.1 for row in swaps)


def test_a_feed_whose_rows_nobody_acknowledges_is_not_ready_and_says_why():
    health, producer = metrics.Health(), bus.producer("127.0.0.1:1")
    feed = app.Feed(producer, threading.Event(), health.beat)
    app.beat(feed, health)
    assert health.readiness()[0]

    feed.play([steps.Row("trades", "A.TEST", b"{}", None)])
    feed._answered_ns -= int((app.SILENT_SECONDS_MAX + 1) * 1e9)
    app.beat(feed, health)

    assert health.readiness() == (False, "the broker acknowledged nothing for 10 s")
    producer.purge()
