"""What all tests share: REQUIRE=compose,kube turns skips of those marks into failures."""

import os

import pytest
from hypothesis import HealthCheck, settings

REQUIRED = {name for name in os.environ.get("REQUIRE", "").replace(",", " ").split() if name}


# A busy machine is no failure: speed is shown by benchmarks.
settings.register_profile("orrery", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("orrery")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    outcome = yield
    report = outcome.get_result()
    missed = sorted(mark for mark in REQUIRED if item.get_closest_marker(mark))
    if report.skipped and missed and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE={missed[0]}: must not be skipped, but: {report.longrepr}"
