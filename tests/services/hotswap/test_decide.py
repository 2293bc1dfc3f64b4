"""Every row of the table of states: what is seen, and the one thing that is done about it."""

import json

import pytest
from orrery_services.hotswap import chain, pods, steps
from orrery_services.hotswap.steps import Ask, Finish, Free, Known, Patch, Resize, Wait, decide

from .objects import (
    IDLE_IMAGE,
    INPUT,
    a_marker,
    a_pod,
    a_pod_at,
    a_run,
    container,
    ended,
    evicted,
    image,
    swap,
    trail,
)

NOW = 1010.0
UP = Known(runners={"a": "", "b": ""})  # of an idle pod: both placeholders are there
WAITING = {"waiting": {"reason": "ContainerCreating"}}


def first_key(pod: dict, run: chain.Run | None, known: Known = UP) -> str:
    action = decide(pod, run, NOW, known)
    assert isinstance(action, Ask), action
    return action.key


def result_of(action: Patch) -> dict:
    return json.loads(action.annotations["result"])


# --- IDLE -------------------------------------------------------------------------------------


def test_an_idle_pod_without_a_wish_waits():
    assert isinstance(decide(a_pod(), None, NOW), Wait)


def test_an_idle_pod_asks_the_memo_before_it_swaps_anything():
    action = decide(a_pod(), a_run(), NOW, UP)

    assert isinstance(action, Ask)
    assert len(action.key) == 64


def test_a_slot_whose_runner_is_not_there_yet_is_left_alone():
    assert decide(a_pod(), a_run(), NOW) == Ask(slot="a")
    assert decide(a_pod(), a_run(), NOW, Known(runners={"a": ""})) == Ask(slot="b")

    assert isinstance(decide(a_pod(), a_run(), NOW, Known(runners={"a": "", "b": None})), Wait)


def test_a_stage_that_nobody_knows_is_swapped_into_slot_a_with_its_token_in_the_same_patch():
    pod, run = a_pod(), a_run()
    known = UP._replace(memo={first_key(pod, run): None})

    action = decide(pod, run, NOW, known)

    assert isinstance(action, Patch)
    assert action.images == {"slot-a": image(1)}
    assert action.annotations["token-a"] == "run-1/1/1"
    order = json.loads(action.annotations["order-a"])
    assert order["inputs"] == [[0, INPUT]]
    written = json.loads(action.annotations["swap-a"])
    assert written["origin"] == "containerd://slot-a-1"
    assert written["at"] == NOW < written["until"]
    assert chain.decode_run(action.annotations["run"]) == run


def test_a_pod_whose_slots_are_not_ready_starts_nothing():
    pod = a_pod(statuses=[container("slot-a", ready=False)])

    assert isinstance(decide(pod, a_run(), NOW), Wait)


def test_a_pod_that_is_going_away_is_left_alone():
    pod = a_pod(deletionTimestamp="now")

    assert isinstance(decide(pod, a_run(), NOW), Wait)


def test_a_run_of_which_all_is_known_ends_without_touching_the_pod():
    pod, run, known = a_pod(), a_run(), UP
    for number in (1, 2, 3):
        known = UP._replace(memo={**known.memo, first_key(pod, run, known): f"{number:064d}"})

    action = decide(pod, run, NOW, known)

    assert isinstance(action, Finish)
    assert action.uid == ""
    assert action.event["result"] == {"status": "completed", "output": f"{3:064d}"}
    assert [entry["reused"] for entry in action.event["stages"]] == [True, True, True]


def test_an_audit_swaps_every_stage_in_and_asks_nobody():
    action = decide(a_pod(), a_run(reuse=False), NOW, UP)

    assert isinstance(action, Patch)
    assert json.loads(action.annotations["order-a"])["reuse"] is False


def test_a_run_whose_pod_was_lost_too_often_is_given_up_with_a_reason():
    action = decide(a_pod(), a_run(attempt=steps.ATTEMPTS_MAX + 1), NOW)

    assert isinstance(action, Finish)
    assert action.event["kind"] == "failed"
    assert action.event["result"]["class"] == "lost"


WORDS = 'Usage of EmptyDir volume "scratch" exceeds the limit "4Gi".'


def test_a_run_whose_pod_was_evicted_too_often_is_given_up_in_the_words_of_the_kubelet():
    wanted, known = a_run(attempt=steps.ATTEMPTS_MAX + 1), Known(lost=f"Evicted: {WORDS}")

    action = decide(a_pod(), wanted, NOW, known)

    assert action.event["result"]["class"] == "evicted"
    assert action.event["result"]["why"] == f"{WORDS}; its pod was lost 3 times"


@pytest.mark.parametrize("pod", [a_pod(), a_pod_at(1, container("slot-a", 2))])
def test_an_evicted_pod_is_freed_whatever_it_did_and_nothing_is_patched(pod):
    assert decide(evicted(pod), a_run(), NOW) == Free("u1", f"Evicted: {WORDS}")


def test_what_had_failed_before_its_pod_was_evicted_is_told_as_that():
    failed = {"status": "failed", "stage": 1, "class": "permanent", "why": "no", "at": NOW}
    pod = a_pod_at(1, container("slot-a", 2), noted={"result": json.dumps(failed)})

    action = decide(evicted(pod), None, NOW)

    assert (action.event["kind"], action.event["result"]["class"]) == ("failed", "permanent")
    assert action.uid == "u1"


def test_what_was_done_but_not_told_before_its_pod_was_evicted_is_asked_for_again():
    done = {"status": "completed", "output": "1" * 64}
    pod = a_pod_at(1, container("slot-a", 2), noted={"result": json.dumps(done)})

    assert isinstance(decide(evicted(pod), None, NOW), Free)


# --- SWAP(k) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "generation"),
    [
        ("the old container is still there", container("slot-a", 1), 1),
        (
            "the old container is there, ready, and the kubelet has not looked",
            container("slot-a", 1),
            2,
        ),
        ("a new one is being made", container("slot-a", 1, False, WAITING), 1),
        ("a new id is seen but the kubelet has not said so", container("slot-a", 2), 2),
    ],
)
def test_ready_is_not_believed_before_a_new_container_runs(name, status, generation):
    pod = a_pod_at(1, status, generation=generation)

    action = decide(pod, None, NOW, Known({}, {1: a_marker(1)}))

    assert isinstance(action, Wait), name


@pytest.mark.parametrize("reason", sorted(pods.BAD_IMAGE - pods.HOPELESS_IMAGE))
def test_an_image_that_does_not_come_is_given_time_then_reverted(reason):
    status = container("slot-a", 1, False, {"waiting": {"reason": reason}})
    pod = a_pod_at(1, status)

    early = decide(pod, None, 1000.0 + steps.IMAGE_SECONDS - 1)
    late = decide(pod, None, 1000.0 + steps.IMAGE_SECONDS + 1)

    assert isinstance(early, Wait)
    assert isinstance(late, Patch)
    assert late.images == {"slot-a": IDLE_IMAGE}
    assert late.annotations["token-a"] == ""
    assert result_of(late)["class"] == "image"
    assert reason in result_of(late)["why"]


def test_a_name_that_is_no_image_is_reverted_at_once():
    pod = a_pod_at(1, container("slot-a", 1, False, {"waiting": {"reason": "InvalidImageName"}}))

    assert result_of(decide(pod, None, 1000.5))["class"] == "image"


def test_back_off_of_the_swap_itself_is_waited_for_until_the_deadline():
    pod = a_pod_at(1, container("slot-a", 1, False, {"waiting": {"reason": "CrashLoopBackOff"}}))

    assert isinstance(decide(pod, None, NOW), Wait)
    assert result_of(decide(pod, None, 1161.0))["class"] == "deadline"


# --- RUN(k) -----------------------------------------------------------------------------------


def crashed(code: int, times: int, running: bool = False, why: str = "") -> dict:
    last = ended("slot-a", 1 + times, code, why)
    if running:
        return container("slot-a", 2 + times, False, None, last)
    return container("slot-a", 1 + times, False, {"waiting": {"reason": "CrashLoopBackOff"}}, last)


@pytest.mark.parametrize(
    ("code", "kind", "allowed"),
    [
        (64, "permanent", 0),
        (78, "permanent", 0),
        (137, "resource", 1),
        (124, "deadline", 1),
        (1, "transient", 2),
        (80, "transient", 2),
        (143, "transient", 2),
    ],
)
def test_a_stage_that_fails_is_repeated_by_its_class_then_reverted(code, kind, allowed):
    run = a_run()
    within = a_pod_at(1, crashed(code, allowed), run, limit="512Mi")
    beyond = a_pod_at(1, crashed(code, allowed + 1, why="the reason"), run, limit="512Mi")

    if allowed:
        assert isinstance(decide(within, None, NOW), Wait)
    action = decide(beyond, None, NOW)

    assert isinstance(action, Patch)
    assert action.images == {"slot-a": IDLE_IMAGE}
    found = result_of(action)
    assert (found["class"], found["exit_code"], found["why"]) == (kind, code, "the reason")


def test_what_the_swap_itself_ended_is_no_failure():
    status = container("slot-a", 2, False, None, ended("slot-a", 1, 143))

    action = decide(a_pod_at(1, status), None, NOW)

    assert action == Wait("stage 1 runs in slot a")


def test_a_stage_out_of_memory_gets_more_once_where_the_slot_has_a_limit():
    pod = a_pod_at(1, crashed(137, 1))

    assert decide(pod, None, NOW) == Resize("a", 512 << 20)


def test_a_refused_resize_is_not_asked_for_again():
    pod = a_pod_at(1, crashed(137, 1), noted={"resize-refused": "422"})

    assert isinstance(decide(pod, None, NOW), Wait)


def test_a_stage_that_needs_more_memory_than_its_slot_gets_it_before_it_is_swapped_in():
    run = a_run()
    run = run._replace(stages=(run.stages[0]._replace(memory_bytes=300 << 20), *run.stages[1:]))
    known = UP._replace(memo={first_key(a_pod(), run): None})

    assert decide(a_pod(), run, NOW, known) == Resize("a", 300 << 20)


def test_a_stage_past_its_deadline_is_reverted():
    pod = a_pod_at(1, container("slot-a", 2, False))

    assert isinstance(decide(pod, None, 1159.0), Wait)
    assert result_of(decide(pod, None, 1161.0))["class"] == "deadline"


@pytest.mark.parametrize(("failures", "until"), [(1, 1260.0), (2, 1360.0)])
def test_every_repeat_of_a_stage_has_its_time_anew(failures, until):
    pod = a_pod_at(1, crashed(1, failures, running=True))

    assert isinstance(decide(pod, None, until - 1), Wait)
    assert result_of(decide(pod, None, until + 1))["class"] == "deadline"


def test_a_serial_run_touches_one_slot_at_a_time():
    pod = a_pod_at(1, container("slot-a", 2, False))

    assert isinstance(decide(pod, None, NOW), Wait)


def test_an_overlapped_run_preloads_the_next_stage_without_the_digest_of_its_input():
    run = a_run(mode="overlapped")
    pod = a_pod_at(1, container("slot-a", 2, False), run)

    action = decide(pod, None, NOW)

    assert isinstance(action, Patch)
    assert set(action.images) == {"slot-b"}
    assert action.annotations["token-b"] == "run-1/2/1"
    assert json.loads(action.annotations["order-b"])["inputs"] == [[1, None]]
    assert "step" not in action.annotations


def test_an_overlapped_run_preloads_once_and_never_past_the_end():
    run = a_run(2, mode="overlapped")
    taken = {
        "noted": {"token-b": "run-1/2/1", "swap-b": swap(2, "slot-b")},
        "images": {"slot-b": image(2)},
        "statuses": [container("slot-b", 2, False)],
    }

    assert isinstance(
        decide(a_pod_at(1, container("slot-a", 2, False), run, **taken), None, NOW), Wait
    )
    assert isinstance(decide(a_pod_at(2, container("slot-b", 2, False), run), None, NOW), Wait)


# --- DONE(k) ----------------------------------------------------------------------------------


def test_a_ready_new_container_is_done_only_with_its_marker():
    pod = a_pod_at(1, container("slot-a", 2))

    assert decide(pod, None, NOW) == Ask(stage=1)
    assert isinstance(decide(pod, None, NOW, Known({}, {1: None})), Wait)


def test_a_marker_is_not_enough_while_its_container_is_not_ready():
    pod = a_pod_at(1, container("slot-a", 2, ready=False))

    assert isinstance(decide(pod, None, NOW, Known({}, {1: a_marker(1)})), Wait)


@pytest.mark.parametrize(("age", "seconds"), [(0.1, 0.01), (3.0, 0.06), (20.0, 0.4), (99.0, 1.0)])
def test_a_marker_is_looked_for_again_after_a_small_share_of_the_time_it_took(age, seconds):
    action = decide(a_pod_at(1, container("slot-a", 2)), None, 1000.0 + age, Known({}, {1: None}))

    assert isinstance(action, Wait)
    assert action.seconds == pytest.approx(seconds)


def test_a_marker_that_never_comes_ends_in_the_deadline():
    pod = a_pod_at(1, container("slot-a", 2))

    assert result_of(decide(pod, None, 1161.0, Known({}, {1: None})))["class"] == "deadline"


def test_a_stage_that_may_be_done_is_not_given_up_while_its_memo_is_silent_but_not_for_ever():
    pod, silent = a_pod_at(1, container("slot-a", 2)), Known({}, {1: None}, silent=True)
    late = 1160.0 + steps.SILENT_SECONDS_MAX

    assert isinstance(decide(pod, None, 1161.0, silent), Wait)
    assert isinstance(decide(pod, None, late - 1, silent), Wait)
    assert result_of(decide(pod, None, late + 1, silent))["class"] == "deadline"


def test_done_goes_on_with_the_next_stage_in_the_other_slot():
    pod = a_pod_at(1, container("slot-a", 2))
    markers = {1: a_marker(1)}
    asked = decide(pod, None, NOW, Known({}, markers))

    action = decide(pod, None, NOW, Known({asked.key: None}, markers))

    assert set(action.images) == {"slot-b"}
    assert action.annotations["step"] == "2"
    entry = json.loads(action.annotations["trail"])[0]
    assert (entry["stage"], entry["output"], entry["swap_ms"]) == (1, f"{1:064d}", 200.0)
    assert json.loads(action.annotations["order-b"])["inputs"] == [[1, f"{1:064d}"]]


def test_a_known_stage_is_skipped_and_the_one_after_it_takes_the_same_slot_as_before():
    pod = a_pod_at(1, container("slot-a", 2))
    known = Known({}, {1: a_marker(1)})
    known = known._replace(memo={decide(pod, None, NOW, known).key: "cd" * 32})
    known = known._replace(memo={**known.memo, decide(pod, None, NOW, known).key: None})

    action = decide(pod, None, NOW, known)

    assert set(action.images) == {"slot-a"}
    assert action.annotations["token-a"] == "run-1/3/1"
    assert json.loads(action.annotations["order-a"])["inputs"] == [[2, "cd" * 32]]


def test_done_with_the_next_stage_already_waiting_changes_no_image():
    run = a_run(mode="overlapped")
    pod = a_pod_at(
        1,
        container("slot-a", 2),
        run,
        noted={"token-b": "run-1/2/1", "swap-b": swap(2, "slot-b", 1001.0)},
        images={"slot-b": image(2)},
        statuses=[container("slot-b", 2, False)],
    )
    known = Known({}, {1: a_marker(1)})
    known = known._replace(memo={decide(pod, None, NOW, known).key: None})

    action = decide(pod, None, NOW, known)

    assert action.images == {}
    assert action.annotations["step"] == "2"
    assert json.loads(action.annotations["swap-b"])["at"] == NOW


def test_the_last_stage_done_writes_the_result_into_the_pod_first():
    pod = a_pod_at(3, container("slot-a", 2))

    action = decide(pod, None, NOW, Known({}, {3: a_marker(3)}))

    assert action.images == {}
    assert result_of(action) == {"status": "completed", "output": f"{3:064d}"}


def test_a_completed_run_is_written_down_and_its_pod_freed_by_uid():
    noted = {"result": json.dumps({"status": "completed", "output": "x"})}
    pod = a_pod_at(3, container("slot-a", 2), noted={**noted, "trail": json.dumps(trail(3))})

    action = decide(pod, None, NOW)

    assert isinstance(action, Finish)
    assert action.uid == "u1"
    assert (action.event["kind"], len(action.event["stages"])) == ("completed", 3)


# --- REVERT, LOST, STUCK ----------------------------------------------------------------------


def reverting(number: int, state: dict | None = None) -> dict:
    failed = {
        "status": "failed",
        "stage": 1,
        "class": "image",
        "why": "",
        "exit_code": 0,
        "at": 1000.0,
    }
    return a_pod_at(
        1,
        container("slot-a", number, bool(number > 1), state),
        noted={
            "result": json.dumps(failed),
            "token-a": "",
            "swap-a": swap(0, "slot-a"),
        },
        images={"slot-a": IDLE_IMAGE},
    )


def test_a_failed_run_waits_for_the_placeholder_then_frees_the_pod():
    assert isinstance(decide(reverting(1), None, NOW), Wait)
    assert isinstance(decide(reverting(2), None, NOW), Finish)


def test_a_placeholder_that_does_not_come_up_does_not_hold_the_pod():
    action = decide(reverting(1, WAITING), None, 1000.0 + steps.REVERT_SECONDS + 1)

    assert isinstance(action, Finish)
    assert action.event["kind"] == "failed"


def test_giving_up_an_overlapped_run_frees_both_slots_in_one_patch():
    run = a_run(mode="overlapped")
    pod = a_pod_at(
        1,
        crashed(70, 1),
        run,
        noted={"token-b": "run-1/2/1", "swap-b": swap(2, "slot-b")},
        images={"slot-b": image(2)},
    )

    action = decide(pod, None, NOW)

    assert action.images == {"slot-a": IDLE_IMAGE, "slot-b": IDLE_IMAGE}
    assert (action.annotations["token-a"], action.annotations["token-b"]) == ("", "")


def test_a_node_that_does_not_answer_is_an_alarm_and_nothing_is_forced():
    pod = a_pod_at(1, container("slot-a", 2))
    pod["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]

    action = decide(pod, None, 9999.0)

    assert isinstance(action, Wait)
    assert action.alarm


def test_a_kubelet_that_does_not_say_what_it_has_seen_is_judged_by_the_container_alone():
    pod = a_pod_at(1, container("slot-a", 2))
    del pod["status"]["observedGeneration"]

    assert decide(pod, None, NOW) == Ask(stage=1)


def test_a_patch_that_is_not_allowed_ends_the_run_without_changing_an_image():
    pod, run = a_pod(), a_run()
    patch = decide(pod, run, NOW, UP._replace(memo={first_key(pod, run): None}))

    noted = steps.refused(patch, "not on the list", NOW)

    assert {"run", "trail", "result"} <= set(noted)
    assert not any(key.startswith(("token", "order", "swap")) for key in noted)
    ended_pod = a_pod({**noted, "placeholder": IDLE_IMAGE})
    assert isinstance(decide(ended_pod, None, NOW), Finish)


def test_a_bad_image_is_told_with_the_words_of_the_registry():
    said = {"reason": "ErrImagePull", "message": "not found: no such manifest"}
    pod = a_pod_at(1, container("slot-a", 1, False, {"waiting": said}))

    action = decide(pod, None, 1000.0 + steps.IMAGE_SECONDS + 1)

    why = json.loads(action.annotations["result"])["why"]
    assert why.endswith(f"{image(1)}: not found: no such manifest")
