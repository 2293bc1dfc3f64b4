"""Which universe answers, and why: the same answer on every node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery_services.cli.route import next_ones
from orrery_services.errors import ConfigError
from orrery_services.protocol import routing
from orrery_services.protocol.routing import BadRoute, provisions, route

TABLE = {
    "universes": ["n1", "n2", "n3", "n9"],
    "wheel": {"replicas": ["n1", "n2", "n3"], "slice_seconds": 300},
    "dominoes": {"rates": "n2"},
    "curves": {"USD-*": "n1", "USD-SOFR": "n3", "*": "local"},
    "slices": {"audit": "n2"},
}


@pytest.mark.parametrize(
    ("path", "universe", "why"),
    [
        ("domino/rates", "n2", "'rates'"),
        ("domino/other", "n9", "local first"),
        ("curve/USD-SOFR", "n3", "'USD-SOFR'"),
        ("curve/USD-LIBOR", "n1", "'USD-*'"),
        ("curve/EUR-ESTR", "n9", "'*'"),
        ("read/anything", "n9", "local first"),
        ("slice/trades/0", "n1", "replica 0 of 3"),
        ("slice/trades/899", "n3", "slice 2"),
        ("slice/trades/-1", "n3", "slice -1"),
        ("slice/audit/0", "n2", "'audit'"),
    ],
)
def test_a_path_is_answered_by_the_most_exact_entry_and_says_so(path, universe, why):
    answer = route(path, TABLE, "n9")

    assert answer.universe == universe
    assert why in answer.why


@pytest.mark.parametrize(
    "path",
    [
        "",
        "curve",
        "curve/",
        "tick/x",
        "slice/x",
        "slice/x/soon",
        "slice//5",
        "slice/x/²",
        "slice/x/" + "9" * 5000,
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(BadRoute, match="must be"):
        route(path, TABLE, "n1")


def test_an_entry_for_a_universe_that_is_not_there_is_refused_with_the_remedy():
    with pytest.raises(BadRoute, match=r"add it to routing\.universes"):
        route("curve/x", {"universes": ["n1"], "curves": {"*": "n7"}}, "n1")


def test_a_wheel_without_length_is_refused():
    with pytest.raises(BadRoute, match="slice_seconds must be at least 1"):
        route("slice/x/5", {"wheel": {"replicas": ["n1"], "slice_seconds": 0}}, "n1")


@given(st.integers(-(10**9), 10**10), st.integers(1, 10**5), st.integers(1, 7))
def test_every_n_slices_in_a_row_touch_each_replica_once(ts, seconds, many):
    replicas = [f"n{i}" for i in range(many)]
    first = routing.slice_of(ts, seconds)

    assert {routing.deal(first + i, replicas) for i in range(many)} == set(replicas)
    assert first * seconds <= ts < (first + 1) * seconds


@given(st.integers(0, 10**6), st.integers(0, 400))
def test_who_answers_the_next_slice_is_ready_before_the_open_one_closes(now, lead):
    ready = provisions(now, TABLE, lead)

    assert ready[0].universe == route(f"slice/x/{now}", TABLE, "n1").universe
    closes = ready[0].opens_s + 300
    if closes - now <= lead:
        assert ready[1].universe == route(f"slice/x/{closes}", TABLE, "n1").universe
    else:
        assert len(ready) == 1


def test_the_command_line_names_who_must_be_ready_for_the_next_slice():
    assert [one.universe for one in next_ones("slice/x/295", TABLE, 10)] == [
        route("slice/x/300", TABLE, "n1").universe
    ]
    assert next_ones("slice/x/200", TABLE, 10) == next_ones("domino/x", TABLE, 10) == []


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ({"wheel": "n1"}, "routing.wheel must be a table"),
        ({"wheel": {"replicas": "n1"}}, "routing.wheel.replicas must be a list"),
        ({"wheel": {"replicas": ["n1"], "slice_seconds": "5m"}}, "must be a whole number"),
        ({"dominoes": ["n1"]}, "routing.dominoes must be a table"),
        ({"curves": {"*": 1}}, "routing.curves must be a table"),
        ({"universes": "n1"}, "routing.universes must be a list"),
        ({"domino": {"rates": "n1"}}, "unknown \\['domino'\\] in routing"),
    ],
)
@pytest.mark.parametrize("path", ["slice/x/5", "domino/rates", "curve/x"])
def test_a_table_that_says_something_else_is_refused_with_rule_and_value(table, rule, path):
    with pytest.raises(ConfigError, match=rule):
        route(path, table, "n1")
