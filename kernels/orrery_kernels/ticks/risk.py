"""Risk of one series: alarms, tails, drawdowns, and how much to hold."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import exp, log
from orrery_kernels.engine.windows import (
    comoments,
    comoments_push,
    comoments_sums,
    moments,
    moments_mean,
    moments_push,
    moments_variance,
)
from orrery_kernels.ticks.parameters import window


@kernel(
    inputs={"x": "value"},
    state={"w": moments("window"), "up": f64, "down": f64},
    params={
        "k": param(0.5, "[0, inf)", "drift that is allowed for, in standard deviations"),
        "h": param(5.0, "(0, inf)", "sum that raises the alarm, in standard deviations"),
        "window": param(
            100, "[2, 1000000]", "ticks before this one from which mean and sd are taken"
        ),
    },
    outputs={"cusum_up": f64, "cusum_down": f64, "cusum_alarm": "i8"},
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def cusum(s, p, x):
    """Two-sided CUSUM of standardised values, started anew after each alarm.

    Formula: z by mean and sd of the last `window` ticks before this one; up = max(0, up + z - k),
        down = max(0, down - z - k); alarm +1 or -1 where one of them exceeds h, then both are 0
    Units: standard deviations; alarm -1, 0, +1
    Warm-up: window ticks; null while the past does not vary
    Source: Page (1954), Biometrika 41, 100-115; Hinkley (1970)
    """
    ready = s.w.n == p.window
    sd = sqrt(moments_variance(s.w, 1)) if ready else 0.0
    mean = moments_mean(s.w) if ready else 0.0
    moments_push(s.w, x, p.window)
    if not sd > 0.0:
        return nan, nan, nan
    z = (x - mean) / sd
    up = max(s.up + z - p.k, 0.0)
    down = max(s.down - z - p.k, 0.0)
    alarm = (1.0 if up > p.h else 0.0) - (1.0 if down > p.h else 0.0)
    s.up = 0.0 if alarm != 0.0 else up
    s.down = 0.0 if alarm != 0.0 else down
    return up, down, alarm


@kernel(
    inputs={"x": "value"},
    state={"n": i64, "mean": f64, "sum": f64, "lowest": f64, "highest": f64},
    params={
        "delta": param(0.005, "[0, inf)", "change that is allowed for"),
        "threshold": param(50.0, "(0, inf)", "distance that raises the alarm"),
    },
    outputs={"page_hinkley": f64, "page_hinkley_alarm": "i8"},
)
def page_hinkley(s, p, x):
    """Page-Hinkley test for a rise or a fall of the mean; starts anew after an alarm.

    Formula: m_n the mean so far, U += x - m_n; rise: U - min U - n delta, fall: max U - U - n
        delta, each taken with its own allowance; the statistic is the larger; alarm where it
        exceeds the threshold
    Units: those of the input; alarm -1 fall, 0, +1 rise
    Warm-up: none
    Source: Page (1954), Biometrika 41; Hinkley (1971), Biometrika 58(3), 509-523
    """
    s.n += 1
    s.mean += (x - s.mean) / s.n
    s.lowest = max(s.lowest + x - s.mean - p.delta, 0.0)
    s.highest = max(s.highest - x + s.mean - p.delta, 0.0)
    statistic = max(s.lowest, s.highest)
    alarm = 0.0
    if statistic > p.threshold:
        alarm = 1.0 if s.lowest >= s.highest else -1.0
        s.n = 0
        s.mean = 0.0
        s.lowest = 0.0
        s.highest = 0.0
    return statistic, alarm


@kernel(
    state={"n": i64, "peak": f64, "worst": f64},
    outputs=("drawdown", "max_drawdown"),
    scale=({"equity": 1}, 0),
)
def drawdown_equity(s, equity):
    """Loss from the highest equity so far, and the worst such loss.

    Formula: 1 - E / max E; null while the peak is not above 0
    Units: share
    Warm-up: none
    Source: Magdon-Ismail & Atiya (2004), Risk 17(10), 99-102
    """
    s.peak = equity if s.n == 0 else max(s.peak, equity)
    s.n = 1
    if s.peak <= 0.0:
        return nan, nan
    drawdown = 1.0 - equity / s.peak
    s.worst = max(s.worst, drawdown)
    return drawdown, s.worst


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "variance": f64},
    params={
        "target": param(0.1, "(0, inf)", "volatility wanted, per year"),
        "lambda_": param(0.94, "[0, 1)", "weight of the past in the variance"),
        "periods_per_year": param(252.0, "(0, inf)", "returns in a year"),
        "cap": param(3.0, "(0, inf)", "largest leverage"),
    },
    outputs="leverage",
)
def vol_target(s, p, r):
    """Leverage that would have given the volatility wanted.

    Formula: min(cap, target / sqrt(A v_t)), v_t = lambda v_(t-1) + (1 - lambda) r_t^2, v_0 = r_0^2;
        cap where nothing has moved
    Units: multiple
    Warm-up: none
    Source: Moreira & Muir (2017), Journal of Finance 72(4), 1611-1644
    """
    s.variance = p.lambda_ * s.variance + (1.0 - p.lambda_) * r * r if s.n > 0 else r * r
    s.n = 1
    vol = sqrt(s.variance * p.periods_per_year)
    return min(p.cap, p.target / vol) if vol > 0.0 else p.cap


@kernel(
    inputs={"r": "log_return"},
    state={"w": moments("window")},
    **window(100, 2, cap=param(1.0, "(0, inf)", "largest fraction, either way")),
    outputs="kelly",
    memory="window",
)
def kelly_fraction(s, p, r):
    """Kelly fraction: the share of the capital that makes the log of wealth grow fastest.

    Formula: mean / variance of the window's returns (population), within +-cap; null where they do
        not vary
    Units: share of the capital
    Warm-up: min_periods - 1 returns
    Source: Kelly (1956), Bell System Technical Journal 35(4); Thorp (2006)
    """
    moments_push(s.w, r, p.window)
    variance = moments_variance(s.w, 0)
    if s.w.n < p.min_periods or not variance > 0.0:
        return nan
    return min(max(moments_mean(s.w) / variance, -p.cap), p.cap)


@kernel(
    inputs={"r": "log_return"},
    state={"w": comoments("window")},
    **window(60, 2),
    memory="window",
    scale=({"r": 1, "fx_return": 1}, 0),
    shift=({"r": 1, "fx_return": 1}, 0),
)
def fx_beta(s, p, r, fx_return):
    """Exposure to a currency: the slope of the return on that of the currency.

    Formula: cov(r, f) / var(f) over the window; null where the currency does not move
    Units: none
    Warm-up: min_periods - 1 ticks
    Source: Adler & Dumas (1984), Financial Management 13(2), 41-50; Jorion (1990)
    """
    comoments_push(s.w, fx_return, r, p.window)
    sxx, _, sxy = comoments_sums(s.w)
    return sxy / sxx if s.w.n >= p.min_periods and sxx > 0.0 else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "variance": f64},
    params={
        "omega": param(1e-6, "(0, inf)", "constant part of the variance"),
        "alpha": param(0.08, "[0, 1)", "weight of the newest squared return"),
        "beta": param(0.9, "[0, 1)", "weight of the variance before"),
    },
    rules={"alpha + beta < 1": lambda p: p.alpha + p.beta < 1.0},
    let={"long_run": lambda p: p.omega / (1.0 - p.alpha - p.beta)},
    outputs=("garch_vol", "garch_forecast"),
)
def garch11_filter(s, p, r):
    """GARCH(1,1) with given parameters: the volatility expected of this return, and of the next.

    Formula: v_t = omega + alpha r_(t-1)^2 + beta v_(t-1), v_0 = omega / (1 - alpha - beta); square
        roots
    Units: return
    Warm-up: none
    Source: Bollerslev (1986), Journal of Econometrics 31(3), 307-327
    """
    now = s.variance if s.n > 0 else p.long_run
    s.n = 1
    s.variance = p.omega + p.alpha * r * r + p.beta * now
    return sqrt(now), sqrt(s.variance)


@kernel(
    inputs={"x": "spread"},
    state={"n": i64, "last": f64, "w": comoments("window")},
    params={"window": param(100, "[3, 1000000]", "pairs of neighbouring values")},
    outputs=("ou_half_life", "ou_mean", "ou_sigma"),
    memory=lambda p: p.window + 1,
)
def ou_half_life(s, p, x):
    """Half-life of a mean-reverting series, with its mean and the size of its noise.

    Formula: x_t = a + b x_(t-1) + e by least squares over the window; half-life = ln 2 / -ln b,
        null where b is not in (0, 1); mean = a / (1 - b); sigma = sd of e
    Units: ticks, those of the input, those of the input
    Warm-up: window ticks
    Source: Vasicek (1977), Journal of Financial Economics 5(2), 177-188
    """
    before = s.last
    n = s.n
    s.last = x
    s.n = 1
    if n == 0:
        return nan, nan, nan
    comoments_push(s.w, before, x, p.window)
    sxx, syy, sxy = comoments_sums(s.w)
    if s.w.n < p.window or not sxx > 0.0:
        return nan, nan, nan
    b = sxy / sxx
    if b <= 0.0 or b >= 1.0:
        return nan, nan, nan
    mean_x = s.w.pivot_x + s.w.sx / s.w.n
    mean_y = s.w.pivot_y + s.w.sy / s.w.n
    noise = sqrt(max(syy - b * sxy, 0.0) / (s.w.n - 2.0))
    return -0.6931471805599453 / log(b), (mean_y - b * mean_x) / (1.0 - b), noise


@kernel(
    inputs={"ts_ns": "ts_event_ns"},
    state={"n": i64, "last": i64, "excited": f64},
    params={
        "mu": param(1.0, "[0, inf)", "events a second with no past"),
        "alpha": param(0.5, "[0, inf)", "jump of the intensity at an event, per second"),
        "beta": param(1.0, "(0, inf)", "decay of the jump, per second"),
    },
    outputs="hawkes_intensity",
)
def hawkes_intensity(s, p, ts_ns: i64):
    """Intensity of a self-exciting process just after each event, exponential kernel.

    Formula: lambda(t) = mu + sum alpha exp(-beta (t - t_i)) over events at or before t
    Units: events a second
    Warm-up: none; time that runs backwards counts as no time
    Source: Hawkes (1971), Biometrika 58(1), 83-90; Bacry, Mastromatteo & Muzy (2015)
    """
    elapsed = max(ts_ns - s.last, 0) / 1e9 if s.n > 0 else 0.0
    s.excited = s.excited * exp(-p.beta * elapsed) + p.alpha
    s.last = ts_ns if s.n == 0 else max(ts_ns, s.last)
    s.n = 1
    return p.mu + s.excited
