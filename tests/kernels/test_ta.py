"""Every function of TA-Lib's families against TA-Lib itself, warm-up and all."""

import numpy as np
import orrery_kernels
import pyarrow as pa
import pytest
import talib
from orrery_kernels.engine import catalog
from talib import abstract

RNG = np.random.default_rng(20261206)
N = 700
CLOSE = 100.0 * np.exp(np.cumsum(RNG.normal(size=N) * 0.01))
OPEN = CLOSE * np.exp(RNG.normal(size=N) * 0.005)
HIGH = np.maximum(OPEN, CLOSE) * np.exp(np.abs(RNG.normal(size=N)) * 0.004)
LOW = np.minimum(OPEN, CLOSE) * np.exp(-np.abs(RNG.normal(size=N)) * 0.004)
VOLUME = RNG.integers(100, 10_000, N).astype(float)
OTHER = 50.0 * np.exp(np.cumsum(RNG.normal(size=N) * 0.01))
FALLING = CLOSE[::-1].copy()
COLUMNS = {
    "open": OPEN,
    "high": HIGH,
    "low": LOW,
    "close": CLOSE,
    "volume": VOLUME,
    "x": CLOSE,
    "y": OTHER,
    "periods": (PERIODS := RNG.uniform(-2.0, 40.0, N)),
}
BATCH = pa.record_batch(COLUMNS)

C, HL, HLC, OHLC = (CLOSE,), (HIGH, LOW), (HIGH, LOW, CLOSE), (OPEN, HIGH, LOW, CLOSE)

# name of the kernel -> what TA-Lib answers with its own defaults
EXPECTED = {
    "ta_sma": lambda: talib.SMA(*C),
    "ta_ema": lambda: talib.EMA(*C),
    "ta_wma": lambda: talib.WMA(*C),
    "ta_dema": lambda: talib.DEMA(*C),
    "ta_tema": lambda: talib.TEMA(*C),
    "ta_t3": lambda: talib.T3(*C),
    "ta_trima": lambda: talib.TRIMA(*C),
    "ta_kama": lambda: talib.KAMA(*C),
    "ta_midpoint": lambda: talib.MIDPOINT(*C),
    "ta_midprice": lambda: talib.MIDPRICE(*HL),
    "ta_bbands": lambda: talib.BBANDS(*C),
    "ta_accbands": lambda: talib.ACCBANDS(*HLC),
    "ta_sar": lambda: talib.SAR(*HL, 0.02, 0.2),
    "ta_mom": lambda: talib.MOM(*C),
    "ta_roc": lambda: talib.ROC(*C),
    "ta_rocp": lambda: talib.ROCP(*C),
    "ta_rocr": lambda: talib.ROCR(*C),
    "ta_rocr100": lambda: talib.ROCR100(*C),
    "ta_rsi": lambda: talib.RSI(*C),
    "ta_cmo": lambda: talib.CMO(*C),
    "ta_trix": lambda: talib.TRIX(*C),
    "ta_macd": lambda: talib.MACD(*C),
    "ta_apo": lambda: talib.APO(*C),
    "ta_ppo": lambda: talib.PPO(*C),
    "ta_stochrsi": lambda: talib.STOCHRSI(*C),
    "ta_aroon": lambda: talib.AROON(*HL),
    "ta_aroonosc": lambda: talib.AROONOSC(*HL),
    "ta_bop": lambda: talib.BOP(*OHLC),
    "ta_cci": lambda: talib.CCI(*HLC),
    "ta_willr": lambda: talib.WILLR(*HLC),
    "ta_stoch": lambda: talib.STOCH(*HLC),
    "ta_stochf": lambda: talib.STOCHF(*HLC),
    "ta_ultosc": lambda: talib.ULTOSC(*HLC),
    "ta_mfi": lambda: talib.MFI(*HLC, VOLUME),
    "ta_imi": lambda: talib.IMI(OPEN, CLOSE),
    "ta_plus_dm": lambda: talib.PLUS_DM(*HL),
    "ta_minus_dm": lambda: talib.MINUS_DM(*HL),
    "ta_plus_di": lambda: talib.PLUS_DI(*HLC),
    "ta_minus_di": lambda: talib.MINUS_DI(*HLC),
    "ta_dx": lambda: talib.DX(*HLC),
    "ta_adx": lambda: talib.ADX(*HLC),
    "ta_adxr": lambda: talib.ADXR(*HLC),
    "ta_ad": lambda: talib.AD(*HLC, VOLUME),
    "ta_adosc": lambda: talib.ADOSC(*HLC, VOLUME),
    "ta_obv": lambda: talib.OBV(CLOSE, VOLUME),
    "ta_trange": lambda: talib.TRANGE(*HLC),
    "ta_atr": lambda: talib.ATR(*HLC),
    "ta_natr": lambda: talib.NATR(*HLC),
    "ta_avgprice": lambda: talib.AVGPRICE(*OHLC),
    "ta_medprice": lambda: talib.MEDPRICE(*HL),
    "ta_typprice": lambda: talib.TYPPRICE(*HLC),
    "ta_wclprice": lambda: talib.WCLPRICE(*HLC),
    "ta_stddev": lambda: talib.STDDEV(*C),
    "ta_var": lambda: talib.VAR(*C),
    "ta_avgdev": lambda: talib.AVGDEV(*C),
    "ta_linearreg": lambda: talib.LINEARREG(*C),
    "ta_linearreg_slope": lambda: talib.LINEARREG_SLOPE(*C),
    "ta_linearreg_intercept": lambda: talib.LINEARREG_INTERCEPT(*C),
    "ta_linearreg_angle": lambda: talib.LINEARREG_ANGLE(*C),
    "ta_tsf": lambda: talib.TSF(*C),
    "ta_correl": lambda: talib.CORREL(CLOSE, OTHER),
    "ta_beta": lambda: talib.BETA(CLOSE, OTHER),
    "ta_donchian": lambda: talib.DONCHIAN(*HL),
    "ta_hma": lambda: talib.HMA(*C),
    "ta_ht_trendline": lambda: talib.HT_TRENDLINE(*C),
    "ta_kc": lambda: talib.KC(*HLC),
    "ta_ma": lambda: talib.MA(*C),
    "ta_mama": lambda: talib.MAMA(*C),
    "ta_mavp": lambda: talib.MAVP(CLOSE, PERIODS),
    "ta_rma": lambda: talib.RMA(*C),
    "ta_sarext": lambda: talib.SAREXT(*HL),
    "ta_supertrend": lambda: talib.SUPERTREND(*HLC),
    "ta_vwma": lambda: talib.VWMA(CLOSE, VOLUME),
    "ta_zlema": lambda: talib.ZLEMA(*C),
    "ta_ac": lambda: talib.AC(*HL),
    "ta_ao": lambda: talib.AO(*HL),
    "ta_cmou": lambda: talib.CMOU(*C),
    "ta_coppock": lambda: talib.COPPOCK(*C),
    "ta_dpo": lambda: talib.DPO(*C),
    "ta_er": lambda: talib.ER(*C),
    "ta_eri": lambda: talib.ERI(*HLC),
    "ta_fosc": lambda: talib.FOSC(*C),
    "ta_fractal": lambda: talib.FRACTAL(*HL),
    "ta_kdj": lambda: talib.KDJ(*HLC),
    "ta_macdext": lambda: talib.MACDEXT(*C),
    "ta_macdfix": lambda: talib.MACDFIX(*C),
    "ta_qstick": lambda: talib.QSTICK(OPEN, CLOSE),
    "ta_smi": lambda: talib.SMI(*HLC),
    "ta_tsi": lambda: talib.TSI(*C),
    "ta_vhf": lambda: talib.VHF(*C),
    "ta_vortex": lambda: talib.VORTEX(*HLC),
    "ta_wad": lambda: talib.WAD(*HLC),
    "ta_cmf": lambda: talib.CMF(*HLC, VOLUME),
    "ta_efi": lambda: talib.EFI(CLOSE, VOLUME),
    "ta_marketfi": lambda: talib.MARKETFI(*HL, VOLUME),
    "ta_nvi": lambda: talib.NVI(CLOSE, VOLUME),
    "ta_pvi": lambda: talib.PVI(CLOSE, VOLUME),
    "ta_pvo": lambda: talib.PVO(VOLUME),
    "ta_pvt": lambda: talib.PVT(CLOSE, VOLUME),
    "ta_rvol": lambda: talib.RVOL(VOLUME),
    "ta_vwap": lambda: talib.VWAP(*HLC, VOLUME),
    "ta_adr": lambda: talib.ADR(*HL),
    "ta_cvi": lambda: talib.CVI(*HL),
    "ta_massi": lambda: talib.MASSI(*HL),
    "ta_rvi": lambda: talib.RVI(*C),
    "ta_ha": lambda: talib.HA(*OHLC),
    "ta_percentile": lambda: talib.PERCENTILE(*C),
    "ta_percentrank": lambda: talib.PERCENTRANK(*C),
}

MATYPES = {
    "sma": 0, "ema": 1, "wma": 2, "dema": 3, "tema": 4, "trima": 5, "kama": 6, "mama": 7, "t3": 8,
    "hma": 9, "none": 10, "zlema": 12, "rma": 13,
}  # fmt: skip


def assert_equal_to_ta_lib(name: str, out: pa.RecordBatch, expected) -> None:
    answers = expected if isinstance(expected, tuple) else (expected,)
    columns = [c for c in out.schema.names if c not in COLUMNS]
    assert len(columns) == len(answers)
    for column, answer in zip(columns, answers, strict=True):
        found = out.column(column)
        if answer.dtype.kind == "i":  # TA-Lib has no null in whole numbers
            found = found.fill_null(0)
        actual = found.to_numpy(zero_copy_only=False)
        # A hair of the largest value allows for sums that TA-Lib lets cancel near zero.
        finite = answer[np.isfinite(answer)]
        hair = 1e-10 * np.max(np.abs(finite), initial=0.0)
        np.testing.assert_allclose(
            actual, answer, rtol=1e-10, atol=hair, err_msg=f"{name}.{column}"
        )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_kernel_is_equal_to_ta_lib_with_its_defaults(name):
    assert_equal_to_ta_lib(name, getattr(orrery_kernels, name)(BATCH), EXPECTED[name]())


def test_every_ta_kernel_is_compared():
    names = {name for name in dir(orrery_kernels) if name.startswith("ta_")}

    assert names == set(EXPECTED)


def still(column: np.ndarray, begin: int, end: int) -> np.ndarray:
    return np.r_[column[:begin], np.full(end - begin, column[begin]), column[end:]]


PRICES = ("open", "high", "low", "close", "x", "y")
ROWS = 260
PLAIN = {name: column[:ROWS] for name, column in COLUMNS.items()}
STILL_TWICE = still(still(PLAIN["close"], 40, 90), 140, 200)
ODD = {
    "in half points": {**PLAIN, **{n: np.round(2.0 * PLAIN[n]) / 2.0 for n in PRICES}},
    "standing still": {**PLAIN, **dict.fromkeys(PRICES, STILL_TWICE)},
    "still to begin with": {**PLAIN, **dict.fromkeys(PRICES, still(PLAIN["close"], 0, 60))},
    "without volume": {
        **PLAIN,
        "volume": np.r_[PLAIN["volume"][:50], np.zeros(30), VOLUME[80:ROWS]],
    },
    "of a few bars": {n: c[:12] for n, c in PLAIN.items()},
    "of a billionth": {**PLAIN, **{n: 1e-9 * PLAIN[n] for n in PRICES}},
    "of a million": {**PLAIN, **{n: 1e6 * PLAIN[n] for n in PRICES}},
}
# What sums of TA-Lib leave behind when what they added up has gone.
ROUNDED_IN_TA_LIB = {
    ("ta_mama", "standing still"),
    ("ta_mama", "still to begin with"),
    ("ta_vwma", "without volume"),
    ("ta_rvol", "without volume"),  # and a volume over none is infinite there
}


def answer_of(name: str, columns: dict[str, np.ndarray], **given: float):
    """Return what TA-Lib says of `columns`, and the same parameters by the names of the kernel."""
    function = abstract.Function(name.removeprefix("ta_").upper())
    reads = [i.column for i in catalog.kernels()[name].definition.inputs]
    names = dict(function.input_names)
    if "price1" in names:
        names = {"price0": reads[0], "price1": reads[1]}
    elif "price" in names:
        names["price"] = reads[0]
    function.input_names = names
    answers = function({n: c.copy() for n, c in columns.items()}, **given)
    return tuple(answers) if isinstance(answers, list) else answers


@pytest.mark.parametrize("series", ODD)
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_kernel_is_equal_to_ta_lib_on_prices(name, series):
    if (name, series) in ROUNDED_IN_TA_LIB:
        return
    out = getattr(orrery_kernels, name)(pa.record_batch(ODD[series]))

    assert_equal_to_ta_lib(name, out, answer_of(name, ODD[series]))


def others(name: str, factor: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return parameters unlike the defaults: for TA-Lib, and for the kernel."""
    theirs = abstract.Function(name.removeprefix("ta_").upper()).parameters
    theirs = {n: v for n, v in theirs.items() if not n.endswith("matype")}
    ours = catalog.kernels()[name].definition.params
    ours = [n for n, spec in ours.items() if not spec.choices]
    changed = [
        max(2, round(factor * v)) if isinstance(v, int) else round(v * (0.5 + factor / 2.0), 3)
        for v in theirs.values()
    ]
    return dict(zip(theirs, changed, strict=True)), dict(zip(ours, changed, strict=False))


@pytest.mark.parametrize("factor", [0.5, 1.7])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_kernel_is_equal_to_ta_lib_with_other_parameters(name, factor):
    theirs, ours = others(name, factor)

    out = getattr(orrery_kernels, name)(pa.record_batch(PLAIN), **ours)

    assert_equal_to_ta_lib(name, out, answer_of(name, PLAIN, **theirs))


def test_macd_with_other_periods_keeps_its_warm_up():
    out = orrery_kernels.ta_macd(BATCH, fast=5, slow=34, signal=3)

    assert_equal_to_ta_lib("ta_macd", out, talib.MACD(CLOSE, 5, 34, 3))


def test_sar_begins_downwards_where_the_second_bar_falls():
    falling = pa.record_batch({"high": HIGH[::-1], "low": LOW[::-1]})

    expected = talib.SAR(HIGH[::-1].copy(), LOW[::-1].copy(), 0.02, 0.2)

    assert_equal_to_ta_lib("ta_sar", orrery_kernels.ta_sar(falling), expected)


@pytest.mark.parametrize("matype", MATYPES)
def test_an_average_by_name_is_that_of_ta_lib(matype):
    number = MATYPES[matype]

    assert_equal_to_ta_lib(
        "ta_ma", orrery_kernels.ta_ma(BATCH, period=12, matype=matype), talib.MA(CLOSE, 12, number)
    )
    mixed = orrery_kernels.ta_macdext(
        BATCH,
        fast=5,
        slow=12,
        signal=4,
        fast_matype=matype,
        slow_matype="tema",
        signal_matype=matype,
    )
    assert_equal_to_ta_lib(
        "ta_macdext", mixed, talib.MACDEXT(CLOSE, 5, number, 12, MATYPES["tema"], 4, number)
    )


@pytest.mark.parametrize("shortest", [2, 7])
@pytest.mark.parametrize("matype", MATYPES)
def test_an_average_of_a_period_that_changes_is_that_of_ta_lib(matype, shortest):
    expected = talib.MAVP(CLOSE, PERIODS, shortest, 20, MATYPES[matype])

    out = orrery_kernels.ta_mavp(BATCH, minperiod=shortest, maxperiod=20, matype=matype)

    assert_equal_to_ta_lib("ta_mavp", out, expected)


@pytest.mark.parametrize("start", [0.0, 95.0, -120.0])
def test_the_extended_sar_has_steps_for_either_way(start):
    steps = (0.03, 0.02, 0.25, 0.01, 0.04, 0.1)
    names = ("long_first", "long_step", "long_max", "short_first", "short_step", "short_max")
    out = orrery_kernels.ta_sarext(
        BATCH, start=start, offset=0.01, **dict(zip(names, steps, strict=True))
    )

    assert_equal_to_ta_lib("ta_sarext", out, talib.SAREXT(HIGH, LOW, start, 0.01, *steps))
