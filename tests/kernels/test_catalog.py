"""Every name of the catalog is there under its public name."""

from __future__ import annotations

import orrery_kernels
import pytest
import talib

CATALOG = {
    "online statistics": """
        log_returns welford_mean_var ewma ewcov rolling_zscore ewcorr robust_hampel frac_diff
        simple_return ewma_adjusted ew_var ew_zscore rolling_median
        rolling_quantile rolling_rank rolling_beta
    """,
    "microstructure": """
        midprice microprice quoted_spread effective_spread l1_imbalance ofi vpin trade_sign
        microprice_stoikov ofi_multilevel bulk_volume_class realized_spread hasbrouck_impact
        book_slope hawkes_intensity ofi_sum book_imbalance spread_bps
    """,
    "volatility": """
        realized_var bipower_var medrv riskmetrics_vol gk_vol parkinson_vol rogers_satchell_vol
        tsrv realized_kernel realized_semivar jump_test_bns jump_test_lm minrv tripower_quarticity
        yang_zhang_vol garch11_filter har_rv
    """,
    "liquidity": "kyle_lambda amihud_illiquidity roll_spread corwin_schultz_spread",
    "currencies": """
        triangular_arbitrage forward_points cip_basis carry_signal pip_value fx_cross_price
        wmr_schedule wmr_london fix_impact pnl_fx
    """,
    "coins": """
        funding_apr funding_cost basis_annualized open_interest_delta perp_fair_price
        cash_and_carry_edge term_structure liquidation_density venue_score dominance_index
    """,
    "execution": """
        vwap rolling_vwap implementation_shortfall arrival_price_impact optimal_ac_schedule twap pov
        slippage_decomposition schedule_simulator smart_order_router post_only_shading
        iceberg_slicer
    """,
    "risk and portfolio": """
        cusum historical_var historical_cvar expected_shortfall cornish_fisher_var evt_pot_var
        drawdown_equity vol_target ewcov_matrix ledoit_wolf_shrinkage risk_parity_weights
        kelly_fraction exposure_limits fx_beta ou_half_life page_hinkley
    """,
    "momentum and filters": """
        ema sma macd rsi bollinger_bands kalman_1d donchian_channel stochastic_osc hp_filter bocpd
    """,
    "features": """
        lag diff rolling_min rolling_max rolling_std rolling_skew rolling_kurt autocorr
        signed_volume entropy_hist label_next_move rolling_sharpe turnover
    """,
    "safety": """
        stale_quote_detector price_band_guard fat_finger_guard circuit_breaker throttle_check
        outlier_flag_mad
    """,
    "two instruments": """
        hayashi_yoshida_cov hayashi_yoshida_corr xcorr_leadlag pairs_spread kalman_hedge_ratio
    """,
    "joins, quality, bars": """
        asof_join asof_join_table asof_join_streaming AsofJoinKernel StreamingAsofJoinKernel
        dedupe_trades dedupe_trade_ids dedupe_venue_trades clock_skew_align gap_fill
        gap_fill_linear trade_quote_match bar_consistency winsorize boxcox boxcox_fitted
        yeo_johnson resample_ohlc dollar_bars volume_bars tick_imbalance_bars
    """,
}
TA_GROUPS = (
    "Overlap Studies",
    "Momentum Indicators",
    "Volume Indicators",
    "Volatility Indicators",
    "Price Transform",
    "Statistic Functions",
)
NAMES = [name for names in CATALOG.values() for name in names.split()]
TA_NAMES = [f"ta_{name.lower()}" for g in TA_GROUPS for name in talib.get_function_groups()[g]]


@pytest.mark.parametrize("name", [*NAMES, *TA_NAMES])
def test_a_name_of_the_catalog_can_be_imported(name: str) -> None:
    found = getattr(orrery_kernels, name)

    assert callable(found)
    assert name in dir(orrery_kernels)


def test_a_name_is_listed_once() -> None:
    assert len(NAMES) == len(set(NAMES))


def test_a_function_has_no_operator_and_that_is_said() -> None:
    with pytest.raises(AttributeError, match="no operator of asof_join, which is no fold"):
        orrery_kernels.create_asof_join_operator  # noqa: B018
