"""TA-Lib's MA types: every function that takes one, with every type, against TA-Lib itself."""

from __future__ import annotations

import numpy as np
import orrery_kernels
import pyarrow as pa
import pytest
import talib
from orrery_kernels import Chain, Stream
from orrery_kernels.errors import ColumnError, ParameterError
from orrery_kernels.ticks.ta_averages import KINDS

from tests.kernels.test_ta import (
    BATCH,
    CLOSE,
    HLC,
    MATYPES,
    PLAIN,
    VOLUME,
    answer_of,
    assert_equal_to_ta_lib,
)

# name of the kernel -> its periods, those of TA-Lib, and its averages, those of TA-Lib
TAKES = {
    "ta_apo": ({"fast": 5, "slow": 12}, ("fastperiod", "slowperiod"), {"matype": "matype"}),
    "ta_ppo": ({"fast": 5, "slow": 12}, ("fastperiod", "slowperiod"), {"matype": "matype"}),
    "ta_pvo": ({"fast": 5, "slow": 12}, ("fastperiod", "slowperiod"), {"matype": "matype"}),
    "ta_bbands": ({"period": 9}, ("timeperiod",), {"matype": "matype"}),
    "ta_ma": ({"period": 12}, ("timeperiod",), {"matype": "matype"}),
    "ta_stoch": (
        {"fastk": 6, "slowk": 4, "slowd": 5},
        ("fastk_period", "slowk_period", "slowd_period"),
        {"slowk_matype": "slowk_matype", "slowd_matype": "slowd_matype"},
    ),
    "ta_kdj": (
        {"fastk": 6, "slowk": 4, "slowd": 5},
        ("fastk_period", "slowk_period", "slowd_period"),
        {"slowk_matype": "slowk_matype", "slowd_matype": "slowd_matype"},
    ),
    "ta_stochf": (
        {"fastk": 6, "fastd": 4},
        ("fastk_period", "fastd_period"),
        {"fastd_matype": "fastd_matype"},
    ),
    "ta_stochrsi": (
        {"period": 9, "fastk": 6, "fastd": 4},
        ("timeperiod", "fastk_period", "fastd_period"),
        {"fastd_matype": "fastd_matype"},
    ),
    "ta_macdext": (
        {"fast": 5, "slow": 12, "signal": 4},
        ("fastperiod", "slowperiod", "signalperiod"),
        {"fast_matype": "fastmatype", "slow_matype": "slowmatype", "signal_matype": "signalmatype"},
    ),
}


def test_the_kinds_are_those_of_ta_lib_that_name_an_average():
    assert set(KINDS) == set(MATYPES)
    assert set(MATYPES.values()) == set(talib.MA_Type._lookup) - {11}  # 11: the function's own


# Of a %K that stands at 100 this average follows the rounding, in TA-Lib by its own.
ROUNDED = {("ta_stochrsi", "kama")}


@pytest.mark.parametrize(
    ("name", "matype"), [(n, m) for n in TAKES for m in MATYPES if (n, m) not in ROUNDED]
)
def test_a_function_with_an_average_by_name_is_that_of_ta_lib(name, matype):
    ours, theirs, averages = TAKES[name]
    expected = answer_of(
        name,
        PLAIN,
        **dict(zip(theirs, ours.values(), strict=True)),
        **dict.fromkeys(averages.values(), MATYPES[matype]),
    )

    out = getattr(orrery_kernels, name)(
        pa.record_batch(PLAIN), **ours, **dict.fromkeys(averages, matype)
    )

    assert_equal_to_ta_lib(name, out, expected)


@pytest.mark.parametrize("signal", ["sma", "rma", "mama"])
@pytest.mark.parametrize("slow", ["tema", "hma", "none"])
@pytest.mark.parametrize("fast", ["ema", "mama", "zlema"])
def test_averages_of_several_kinds_begin_as_in_ta_lib(fast, slow, signal):
    out = orrery_kernels.ta_macdext(
        BATCH, fast=5, slow=12, signal=4, fast_matype=fast, slow_matype=slow, signal_matype=signal
    )

    expected = talib.MACDEXT(CLOSE, 5, MATYPES[fast], 12, MATYPES[slow], 4, MATYPES[signal])
    assert_equal_to_ta_lib("ta_macdext", out, expected)


@pytest.mark.parametrize("matype", ["mama", "none", "dema"])
@pytest.mark.parametrize("period", [5, 60])
def test_bands_are_there_once_average_and_deviation_are(matype, period):
    out = orrery_kernels.ta_bbands(BATCH, period=period, nbdevup=1.0, nbdevdn=3.0, matype=matype)

    expected = talib.BBANDS(CLOSE, period, 1.0, 3.0, MATYPES[matype])
    assert_equal_to_ta_lib("ta_bbands", out, expected)


@pytest.mark.parametrize("matype", MATYPES)
def test_an_average_over_one_value_is_the_value(matype):
    fast = orrery_kernels.ta_stoch(BATCH, slowk=1, slowd=1, slowk_matype=matype)
    one = orrery_kernels.ta_ma(BATCH, period=1, matype=matype)

    expected = talib.STOCH(*HLC, 5, 1, MATYPES[matype], 1, 0)
    assert_equal_to_ta_lib("ta_stoch", fast, expected)
    assert_equal_to_ta_lib("ta_ma", one, CLOSE)


@pytest.mark.parametrize(
    ("name", "usual"), [("ta_ppo", {"matype": "ema"}), ("ta_kdj", {"slowd_matype": "rma"})]
)
def test_the_usual_average_by_name_is_the_kernel_itself(name, usual):
    assert Chain([{"kernel": name, **usual}]).digest == Chain([{"kernel": name}]).digest


@pytest.mark.parametrize("matype", MATYPES)
def test_an_average_by_ta_lib_s_number_is_the_one_by_name(matype):
    by_name = {"kernel": "ta_ppo", "matype": matype}
    by_number = {"kernel": "ta_ppo", "matype": np.int64(MATYPES[matype])}

    assert Chain([by_number]).digest == Chain([by_name]).digest
    mixed = {"slowk_matype": MATYPES[matype], "slowd_matype": "ema"}
    named = {"slowk_matype": matype, "slowd_matype": talib.MA_Type.EMA}
    expected = orrery_kernels.ta_stoch(BATCH, **named)
    assert orrery_kernels.ta_stoch(BATCH, **mixed).equals(expected)


@pytest.mark.parametrize("matype", MATYPES)
def test_an_average_of_a_period_that_changes_is_the_same_however_it_is_run(matype):
    given = {"minperiod": 3, "maxperiod": 9, "matype": matype}
    symbols = pa.array([f"S{k % 3}" for k in range(len(CLOSE))])
    batch = BATCH.append_column("symbol", symbols).slice(0, 200)
    holes = pa.array([None if k % 11 == 0 else 2.0 + k % 9 for k in range(200)])
    batch = batch.set_column(batch.schema.get_field_index("periods"), "periods", holes)
    whole = orrery_kernels.ta_mavp(batch, **given)

    cut = Stream.from_table(pa.Table.from_batches([batch]), batch_size=7).map(
        lambda b: orrery_kernels.ta_mavp(b, **given)
    )
    rows = Chain([{"kernel": "ta_mavp", **given}]).oracle().run(batch.to_pylist())

    assert cut.to_table().combine_chunks() == pa.Table.from_batches([whole])
    assert [row["ta_mavp"] for row in rows] == whole["ta_mavp"].to_pylist()
    assert whole["ta_mavp"].null_count < len(whole)


def test_what_lies_between_is_neither_shown_nor_in_the_way():
    steps = [
        {"kernel": "ta_apo", "matype": "wma"},
        {"kernel": "ta_apo", "matype": "hma", "output": "other"},
        {"kernel": "ta_ma", "x": "ta_apo", "matype": "mama", "output": "smooth"},
    ]
    chain = Chain(steps)

    out = chain.run(chain.new_state(), BATCH)

    assert out.schema.names == ["ta_apo", "other", "smooth"]
    apo = talib.APO(CLOSE, 12, 26, MATYPES["wma"])
    assert_equal_to_ta_lib("ta_apo", out.select(["ta_apo"]), apo)
    rows = chain.oracle().run(BATCH.slice(0, 80).to_pylist())
    assert rows == out.slice(0, 80).to_pylist()


def test_a_stream_cut_anywhere_a_tick_and_a_state_brought_back_give_the_same_bits():
    given = {"slowk_matype": "kama", "slowd_matype": "t3"}
    symbols = pa.array([f"S{k % 3}" for k in range(len(CLOSE))])
    batch = BATCH.append_column("symbol", symbols)
    whole = orrery_kernels.ta_kdj(batch, **given)

    cut = Stream.from_table(pa.Table.from_batches([batch]), batch_size=7).map(
        lambda b: orrery_kernels.ta_kdj(b, **given)
    )
    first, ticked = orrery_kernels.ta_kdj(**given), orrery_kernels.ta_kdj(**given)
    first(batch.slice(0, 333))
    later = orrery_kernels.ta_kdj(**given)
    later.restore(first.state_bytes())
    ticks = [
        ticked.tick(row["symbol"], row["high"], row["low"], row["close"])
        for row in batch.to_pylist()
    ]

    assert pa.Table.from_batches(list(cut)).combine_chunks() == pa.Table.from_batches([whole])
    assert later(batch.slice(333)).equals(whole.slice(333))
    names = ("ta_kdj_k", "ta_kdj_d", "ta_kdj_j")
    assert ticks == list(zip(*(whole[n].to_pylist() for n in names), strict=True))


def test_an_operator_and_a_plan_of_it_run_what_a_batch_does():
    op = orrery_kernels.ta_bbands.operator([BATCH], matype="zlema", symbol_column="symbol")

    (out,) = orrery_kernels.plan(op).run(partitions=2)

    assert out.equals(orrery_kernels.ta_bbands(BATCH, matype="zlema"))


def test_volume_takes_its_own_column():
    out = orrery_kernels.ta_pvo(BATCH, matype="sma")

    assert_equal_to_ta_lib("ta_pvo", out, talib.PVO(VOLUME, 12, 26, 0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"matype": "weighted"}, r"matype must be one of 'sma', .*, was 'weighted' \(ta_apo\)"),
        ({"matype": 11}, r"matype must be one of 'sma', .* or 0, 1, .* 13, was 11 \(ta_apo\)"),
        ({"matype": 2.5}, r"matype must be one of 'sma', .*, was 2.5 \(ta_apo\)"),
        ({"matype": True}, r"matype must be one of 'sma', .*, was True \(ta_apo\)"),
        ({"matypes": "wma"}, r"it has: fast, slow, matype \(ta_apo\)"),
        ({"matype": "wma", "fast": 30}, r"needs fast < slow; was fast=30, slow=26"),
    ],
)
def test_a_wrong_average_is_refused_with_what_there_is(given, told):
    with pytest.raises(ParameterError, match=told):
        orrery_kernels.ta_apo(BATCH, **given)


def test_a_column_that_is_not_there_is_told_by_the_name_that_was_typed():
    with pytest.raises(ColumnError, match=r"column 'close' must be there, .* \(ta_apo\)"):
        orrery_kernels.ta_apo(BATCH.select(["open", "high"]), matype="wma")


def test_the_page_and_the_signature_name_the_averages():
    assert "matype = ema, one of sma, ema, wma" in orrery_kernels.ta_apo.__doc__
    assert "slowd_matype='rma'" in str(orrery_kernels.ta_kdj.__signature__)
