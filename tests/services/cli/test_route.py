"""orrery route says who must be ready for the next slices."""

from orrery_services.cli.route import next_ones

TABLE = {"slices": {"fixed": "n1"}, "wheel": {"replicas": ["n1", "n2"], "slice_seconds": 300}}


def test_the_next_slice_of_a_pinned_family_is_at_the_universe_that_it_is_pinned_to():
    ready = {name: next_ones(f"slice/{name}/295", TABLE, 10) for name in ("fixed", "free")}

    assert [(one.universe, one.opens_s) for one in ready["fixed"]] == [("n1", 300)]
    assert [(one.universe, one.opens_s) for one in ready["free"]] == [("n2", 300)]
