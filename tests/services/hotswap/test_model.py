"""Whatever dies, lags, lies or fails: two stages at most, nothing done twice, every run ends."""

import json
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from orrery_services.hotswap import pods, steps
from orrery_services.hotswap.app import Controller
from orrery_services.protocol import stages

from .cluster import SLOTS, Cluster, Killed, output_of
from .objects import INPUT, a_run

ROUNDS_MAX = 600
FAILURES = st.sampled_from([1, 7, 64, 78, 124, 137, 143])


class Swapping(RuleBasedStateMachine):
    """Two controllers over one model cluster; a rule is something that may happen at any time."""

    @initialize(
        overlapped=st.booleans(),
        reuse=st.booleans(),
        images_return=st.booleans(),
        probes=st.booleans(),
        stages_many=st.integers(1, 5),
        outcomes=st.dictionaries(
            st.sampled_from(["s1", "s2", "s3"]),
            st.lists(FAILURES, max_size=3) | FAILURES.map(lambda code: [code] * 1000),
        ),
    )
    def begin(self, overlapped, reuse, images_return, probes, stages_many, outcomes):
        self.cluster = Cluster(outcomes=outcomes, probes=probes)
        self.overlapped = overlapped
        mode = "overlapped" if overlapped else "serial"
        self.run = a_run(stages_many, mode, reuse=reuse)
        self.controllers = [self.new_controller(), self.new_controller()]
        self.images_return = images_return
        self.runs = 0
        self.somebody_asks_for_a_run()

    def new_controller(self) -> Controller:
        cluster = self.cluster
        return Controller(cluster, cluster, ["domino-0"], lambda _: cluster, lambda: cluster.now)

    def turn(self, which: int, pod: dict) -> None:
        try:
            self.controllers[which].turn(pod)
        except Killed:
            self.controllers[which] = self.new_controller()

    @precondition(lambda self: self.runs < 3)
    @rule()
    def somebody_asks_for_a_run(self):
        self.runs += 1
        self.cluster.request(self.run._replace(id=f"run-{self.runs}"))

    @rule(which=st.integers(0, 1))
    def a_controller_takes_a_turn(self, which):
        self.turn(which, self.cluster.get("domino-0"))

    @rule(which=st.integers(0, 1), back=st.integers(1, 5))
    def a_controller_is_told_an_old_state_or_the_same_twice(self, which, back):
        self.turn(which, self.cluster.history[-min(back, len(self.cluster.history))])

    @rule(fuse=st.integers(0, 12), which=st.integers(0, 1))
    def a_controller_dies_between_two_steps(self, fuse, which):
        pod = self.cluster.get("domino-0")
        self.cluster.fuse = fuse
        self.turn(which, pod)
        self.cluster.fuse = -1

    @rule(worked=st.lists(st.sampled_from(SLOTS), max_size=2), rounds=st.integers(1, 4))
    def all_goes_well_for_a_while(self, worked, rounds):
        for _ in range(rounds):
            self.cluster.sync()
            self.cluster.report()
            for name in worked:
                self.cluster.work(name)
            self.never_more_than_two_stages_are_resident()
            self.cluster.report()
            self.turn(0, self.cluster.get("domino-0"))
            self.cluster.now += 0.5

    @rule()
    def the_kubelet_acts(self):
        self.cluster.sync()

    @rule()
    def the_kubelet_reports(self):
        self.cluster.report()

    @rule(name=st.sampled_from(SLOTS))
    def a_stage_comes_to_an_end(self, name):
        self.cluster.work(name)

    @rule(seconds=st.sampled_from([0.2, 5.0, 20.0, 90.0]))
    def time_passes(self, seconds):
        self.cluster.now += seconds

    @rule(number=st.integers(0, 4), gone=st.booleans())
    def an_image_goes_or_comes_back(self, number, gone):
        image = self.run.stages[min(number, len(self.run.stages) - 1)].image
        (self.cluster.missing.add if gone else self.cluster.missing.discard)(image)

    @rule(many=st.integers(1, 3))
    def the_memo_is_silent_for_a_while(self, many):
        self.cluster.silent_memo = many

    @rule()
    def a_probe_speaks_of_the_container_before(self):
        self.cluster.lying_probes = 1

    @rule()
    def the_node_is_lost_and_the_pod_is_made_anew(self):
        self.cluster.new_pod()

    @rule()
    def the_pod_is_evicted(self):
        self.cluster.evict()

    @invariant()
    def never_more_than_two_stages_are_resident(self):
        if hasattr(self, "cluster"):
            assert self.cluster.resident() <= (2 if self.overlapped else 1)

    @invariant()
    def nothing_is_computed_twice_in_one_pod(self):
        if hasattr(self, "cluster"):
            assert len(self.cluster.computed) == len(set(self.cluster.computed))

    @invariant()
    def nothing_runs_that_is_neither_placeholder_nor_the_stage_of_its_token(self):
        if hasattr(self, "cluster"):
            noted = pods.annotations(self.cluster.pod)
            images = {s["name"]: s["image"] for s in self.cluster.pod["spec"]["containers"]}
            for slot in stages.SLOTS:
                token = stages.parse_token(noted.get(f"token-{slot}", ""))
                if token:
                    assert images[f"slot-{slot}"] == self.run.stages[token.stage - 1].image

    def teardown(self):
        """Left in peace, everything that was asked for comes to exactly one end."""
        if not hasattr(self, "cluster"):
            return
        cluster = self.cluster
        cluster.silent_memo = cluster.lying_probes = 0
        if self.images_return:
            cluster.missing.clear()
        for _ in range(ROUNDS_MAX):
            if all(cluster.ends_of(run) for run in cluster.requests):
                break
            cluster.sync()
            cluster.report()
            for name in SLOTS:
                cluster.work(name)
            cluster.report()
            self.turn(0, cluster.get("domino-0"))
            cluster.now += 1.0
        for run in cluster.requests:
            self.check_end(run)

    def check_end(self, run: str) -> None:
        ends = self.cluster.ends_of(run)
        state = json.dumps(self.cluster.pod["metadata"]["annotations"], indent=1)
        assert len(ends) == 1, f"{run} ended {len(ends)} times\n{state}"
        if ends[0]["kind"] == "completed":
            assert [e["output"] for e in ends[0]["stages"]] == expected_outputs(self.run)
        else:
            assert ends[0]["result"]["class"] in FAILURE_CLASSES


FAILURE_CLASSES = {*steps.RETRIES, "image", "swap", "lost", "evicted"}


def expected_outputs(run) -> list[str]:
    found, digest = [], INPUT
    for stage in run.stages:
        digest = output_of(stages.stage_key(stage.code, stage.parameters, [digest]))
        found.append(digest)
    return found


TestSwapping = Swapping.TestCase
TestSwapping.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("mode", ["serial", "overlapped"])
def test_controllers_killed_at_two_hundred_random_points_end_every_run_once(mode: str):
    dice, kills = random.Random(mode), 0
    while kills < 200:
        run, cluster = a_run(5, mode), Cluster()
        cluster.request(run)
        for _ in range(ROUNDS_MAX):
            if cluster.ends_of(run.id):
                break
            cluster.sync()
            cluster.report()
            for name in SLOTS:
                cluster.work(name)
                assert cluster.resident() <= (2 if mode == "overlapped" else 1)
            cluster.report()
            pod = cluster.get("domino-0")
            controller = Controller(cluster, cluster, ["domino-0"], lambda _, c=cluster: c, float)
            cluster.fuse = dice.randint(0, 12)  # a turn asks the outside up to a dozen times
            try:
                controller.turn(pod)
            except Killed:
                kills += 1
            cluster.fuse = -1

        (end,) = cluster.ends_of(run.id)
        assert [entry["output"] for entry in end["stages"]] == expected_outputs(run)
        assert len(cluster.computed) == len(set(cluster.computed)) == 5
