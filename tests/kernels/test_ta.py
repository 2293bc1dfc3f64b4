"""Every function of TA-Lib's families against TA-Lib itself, warm-up and all."""

import numpy as np
import orrery_kernels
import pyarrow as pa
import pytest
import talib

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
}


def assert_equal_to_ta_lib(name: str, out: pa.RecordBatch, expected) -> None:
    answers = expected if isinstance(expected, tuple) else (expected,)
    columns = [c for c in out.schema.names if c not in COLUMNS]
    assert len(columns) == len(answers)
    for column, answer in zip(columns, answers, strict=True):
        actual = out.column(column).to_numpy(zero_copy_only=False)
        # A hair of the largest value allows for sums that TA-Lib lets cancel near zero.
        hair = 1e-10 * np.nanmax(np.abs(answer))
        np.testing.assert_allclose(
            actual, answer, rtol=1e-10, atol=hair, err_msg=f"{name}.{column}"
        )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_kernel_is_equal_to_ta_lib_with_its_defaults(name):
    assert_equal_to_ta_lib(name, getattr(orrery_kernels, name)(BATCH), EXPECTED[name]())


def test_every_ta_kernel_is_compared():
    names = {name for name in dir(orrery_kernels) if name.startswith("ta_")}

    assert names == set(EXPECTED)


def test_macd_with_other_periods_keeps_its_warm_up():
    out = orrery_kernels.ta_macd(BATCH, fast=5, slow=34, signal=3)

    assert_equal_to_ta_lib("ta_macd", out, talib.MACD(CLOSE, 5, 34, 3))


def test_sar_begins_downwards_where_the_second_bar_falls():
    falling = pa.record_batch({"high": HIGH[::-1], "low": LOW[::-1]})

    expected = talib.SAR(HIGH[::-1].copy(), LOW[::-1].copy(), 0.02, 0.2)

    assert_equal_to_ta_lib("ta_sar", orrery_kernels.ta_sar(falling), expected)
