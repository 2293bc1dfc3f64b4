"""A rule that nobody misses is a rule without a test: with each switched off, the road must break.

What consults a switch is either the product's own step, or the simulation's shell where the
product's shell has no such choice.
"""

from dataclasses import fields

import pytest
from orrery_services.protocol.rules import ALL_RULES, Rules

from tests.simulation.play import play

SEEDS_MAX = 40  # from the first seed known to show it
FIRST_SEED = {
    "accept_only_what_continues": 0,
    "compare_captured_ids": 0,
    "captured_id_under_lock": 0,
    "moved_row_judged_by_origin_alone": 0,
    "compare_moved_origins": 0,
    "moved_rows_before_label": 0,
    "moved_rows_in_order": 2,
    "catch_up_before_first_event": 0,
    "start_over_behind_a_hole": 4,
    "mark_needs_both_chunks": 0,
    "validate_user_batches": 1,
    "new_incarnation_on_empty_disk": 4,
    "wait_below_the_low_end": 9,
    "mark_counts_ordinals": 4,
    "fold_what_is_held": 11,
    "record_every_arrival": 1,
    "read_what_lies_between": 11,
    "mark_is_contiguous": 15,
    "heartbeat_names_the_last": 6,
    "number_under_lock": 59,
    "dead_letters_before_label": 87,
}
FIRST_SEED_OF_DISKS = {  # in worlds where disks fail most
    "row_ids_show_a_restored_disk": 2,
    "wait_for_the_old_connector": 6,
    "incarnation_is_random": 12,
    "peers_show_a_restored_disk": 59,
    "snapshot_every_own_incarnation": 95,
}


@pytest.mark.parametrize("rule", sorted({**FIRST_SEED, **FIRST_SEED_OF_DISKS}))
def test_without_this_rule_the_road_breaks(rule):
    rules, disks = ALL_RULES.without(rule), rule in FIRST_SEED_OF_DISKS
    first = (FIRST_SEED_OF_DISKS if disks else FIRST_SEED)[rule]

    broken = (play(seed, rules, disks)[0] for seed in range(first, first + SEEDS_MAX))

    assert next(filter(None, broken), None), f"{SEEDS_MAX} seeds hold without {rule}"


def test_every_rule_is_switched_off_here():
    known = [field.name for field in fields(Rules)]

    assert sorted(known) == sorted([*FIRST_SEED, *FIRST_SEED_OF_DISKS])
