"""The rules that a test may switch off, one sentence each.

A rule nobody misses is a rule without a test. So each of these can be disabled, by its name, for a
simulation or for a real service (`ORRERY_RULES_OFF=compare_moved_origins`); the suite that then
still passes is the one to mend. Every field is on by default and nothing but a test turns one off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

RULES_OFF = "ORRERY_RULES_OFF"


@dataclass(frozen=True)
class Rules:
    """Which sentences of the protocol are in force. The number behind each is that of its rule."""

    accept_only_what_continues: bool = True  # 2  a message counts iff its base equals the vector
    compare_captured_ids: bool = True  # 4  an id at or below the position is dropped
    captured_id_under_lock: bool = True  # 4  id order is commit order
    moved_row_judged_by_origin_alone: bool = True  # 4, 5  its captured id says nothing here
    compare_moved_origins: bool = True  # 5  an origin at or below the position is dropped
    moved_rows_before_label: bool = True  # 5  all acknowledged before the label that covers them
    moved_rows_in_order: bool = True  # 5  the next one when the one before is acknowledged
    catch_up_before_first_event: bool = True  # 6  [own mark, end) is folded first
    fold_what_is_held: bool = True  # 6  a message goes through the state even if its result is held
    read_what_lies_between: bool = True  # 6  a delivery beyond the fold is not the next one
    start_over_behind_a_hole: bool = True  # 6  a commit short of the fold starts over from the mark
    wait_below_the_low_end: bool = True  # 6  a mark below the log's low end folds nothing
    mark_is_contiguous: bool = True  # 7  not the greatest result held
    mark_needs_both_chunks: bool = True  # 7  input chunk and result chunk
    mark_counts_ordinals: bool = True  # 7  not base meets next
    dead_letters_before_label: bool = True  # 10  acknowledged before the label that covers them
    validate_user_batches: bool = True  # 2, 10  a batch straight to `ticks` passes the same check
    number_under_lock: bool = True  # 12  the counter row is locked to the commit
    record_every_arrival: bool = True  # 12  even when the fact was already held
    new_incarnation_on_empty_disk: bool = True  # 13
    row_ids_show_a_restored_disk: bool = True  # 13  not only oseq
    peers_show_a_restored_disk: bool = True  # 13  not only the topic
    wait_for_the_old_connector: bool = True  # 13  before looking at what others saw
    incarnation_is_random: bool = True  # 13  not a number kept in the database
    snapshot_every_own_incarnation: bool = True  # 14  not only the current one
    heartbeat_names_the_last: bool = True  # 14  a gap at the tail is a gap

    def without(self, *names: str) -> "Rules":
        """Return the rules with these switched off. Raises ValueError for a name that is none.

        >>> Rules().without("compare_moved_origins").compare_moved_origins
        False
        """
        known = {field.name for field in fields(self)}
        if unknown := sorted(set(names) - known):
            raise ValueError(f"a rule must be one of {sorted(known)}, was {', '.join(unknown)}")
        return replace(self, **dict.fromkeys(names, False))


ALL_RULES = Rules()


def rules_from(environment: Mapping[str, str]) -> Rules:
    """Return the rules in force: all, but those a test names in ORRERY_RULES_OFF."""
    names = environment.get(RULES_OFF, "").replace(",", " ").split()
    return ALL_RULES.without(*names)
