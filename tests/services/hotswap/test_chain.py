"""What a declaration means, and what is refused with rule, value, place and remedy."""

import datetime

import pytest
from orrery_services.errors import ConfigError
from orrery_services.hotswap import chain

DAY = datetime.date(2026, 1, 1)
IMAGE = "registry/steps@sha256:" + "1" * 64


def read(tasks: list[dict], **declared) -> chain.Chain:
    return chain.read_chain("daisy", {"run_in": "pod", "tasks": tasks, **declared})


def test_tasks_follow_each_other_unless_they_say_otherwise():
    found = read([{"name": n, "image": IMAGE} for n in "abc"])

    assert [stage.needs for stage in found.stages] == [(0,), (1,), (2,)]


def test_tasks_that_need_others_come_after_them_and_read_all_of_them():
    found = read(
        [
            {"name": "book", "image": IMAGE, "needs": ["curve", "quotes"]},
            {"name": "quotes", "image": IMAGE, "needs": []},
            {"name": "curve", "image": IMAGE, "needs": ["quotes"]},
        ]
    )

    assert [stage.name for stage in found.stages] == ["quotes", "curve", "book"]
    assert [stage.needs for stage in found.stages] == [(0,), (1,), (2, 1)]


def test_stages_that_share_an_image_still_differ_in_their_slot():
    found = read([{"name": n, "image": IMAGE} for n in "abc"])

    chain.check_swaps(found)
    assert [stage.image.count(":stage-") for stage in found.stages] == [0, 1, 1]
    assert len({stage.image for stage in found.stages}) == 3
    assert len({stage.code for stage in found.stages}) == 1


def test_a_run_comes_back_from_its_annotation_as_it_was():
    run = chain.start_run(read([{"name": "a", "image": IMAGE}]), "r1", "eod", "ab" * 32)

    assert chain.decode_run(chain.encode_run(run)) == run


def test_a_chain_of_which_nothing_is_swapped_is_none_of_ours():
    assert chain.read_chain("rates", {"tasks": [{"name": "a", "domino": "curve"}]}) is None


@pytest.mark.parametrize(
    ("tasks", "declared", "said"),
    [
        ([{"name": "a", "image": IMAGE}, {"name": "a", "image": IMAGE}], {}, "each once"),
        ([{"name": "a", "image": IMAGE, "needs": ["z"]}], {}, "'a' needs \\['z'\\]"),
        (
            [
                {"name": "a", "image": IMAGE, "needs": ["b"]},
                {"name": "b", "image": IMAGE, "needs": ["a"]},
            ],
            {},
            "circle",
        ),
        (
            [{"name": "a", "image": IMAGE, "run_in": "process"}, {"name": "b", "image": IMAGE}],
            {},
            "split",
        ),
        ([{"name": "a", "image": IMAGE}], {"mode": "fast"}, "mode must be one of"),
        ([{"name": "a"}], {}, "one of image, command and domino"),
        ([{"name": "a", "image": IMAGE, "command": ["x"]}], {}, "one of image"),
        ([{"name": "a", "image": IMAGE, "deadline_s": 0}], {}, "deadline_s must be in"),
        (
            [{"name": "a", "image": IMAGE, "memory_mb": 9, "memory_mb_max": 8}],
            {},
            "memory_mb must be",
        ),
        ([{"name": "a", "image": IMAGE, "memroy_mb": 9}], {}, "unknown \\['memroy_mb'\\]"),
        ([{"name": f"t{n}", "image": IMAGE} for n in range(65)], {}, "at most 64"),
        ([], {}, "must have tasks"),
        (["a"], {}, "list of tables"),
        ({"name": "a"}, {}, "list of tables"),
        ([{"name": 5, "image": IMAGE}], {}, "must have names"),
        ([{"image": IMAGE}], {}, "must have names"),
        ([{"name": "a", "image": IMAGE}], {"run_in": "pods"}, "run_in must be one of"),
        ([{"name": "a", "image": IMAGE, "run_in": "kvm"}], {}, "run_in must be one of"),
        ([{"name": "a", "image": IMAGE}], {"mod": "overlapped"}, "unknown \\['mod'\\]"),
        ([{"name": "a", "image": IMAGE, "needs": "b"}], {}, "needs must be a list of texts"),
        ([{"name": "a", "image": IMAGE, "needs": ["a"]}], {}, "circle"),
        ([{"name": "a", "image": IMAGE, "params": [1]}], {}, "params must be a table"),
        ([{"name": "a", "image": IMAGE, "params": {"d": DAY}}], {}, "what JSON can say"),
        ([{"name": "a", "image": IMAGE, "params": {"x": float("nan")}}], {}, "what JSON can say"),
        ([{"name": "a", "image": IMAGE, "deadline_s": "5m"}], {}, "deadline_s must be in"),
        ([{"name": "a", "image": IMAGE, "deadline_s": True}], {}, "deadline_s must be in"),
        ([{"name": "a", "image": IMAGE, "deadline_s": float("nan")}], {}, "deadline_s must be in"),
        ([{"name": "a", "image": IMAGE, "deadline_s": 1e9}], {}, "deadline_s must be in"),
        ([{"name": "a", "image": IMAGE, "memory_mb": -1}], {}, "memory_mb must be in"),
        ([{"name": "a", "image": IMAGE, "memory_mb": "1Gi"}], {}, "memory_mb must be in"),
        ([{"name": "a", "image": IMAGE, "memory_mb_max": 1e12}], {}, "memory_mb_max must be in"),
        ([{"name": "a", "image": "ONE"}], {}, "by digest"),  # a name that the list has not
        ([{"name": "a", "image": "registry/steps:dev"}], {}, "by digest"),
        ([{"name": "a", "image": 7}], {}, "must be texts"),
        ([{"name": "a", "command": "python step.py"}], {}, "command must be a list of texts"),
        ([{"name": "a", "command": ["sh", "-c", "a\0b"]}], {}, "command must be a list of texts"),
        ([{"name": "a", "command": []}], {}, "must name a program"),
        ([{"name": "a", "command": [""]}], {}, "must name a program"),
        ([{"name": "a", "command": ["x"], "domino": "d"}], {}, "one of image, command and domino"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_with_its_place(tasks, declared, said):
    with pytest.raises(ConfigError, match=said) as caught:
        read(tasks, **declared)

    assert "dominoes.daisy" in str(caught.value)


def test_images_that_are_equal_and_meet_in_a_slot_are_refused():
    found = read([{"name": n, "image": "sha256:" + "1" * 64} for n in "abc"])

    with pytest.raises(ConfigError, match="different images, 'a' and 'c'"):
        chain.start_run(found, "r1", "eod", "ab" * 32)


@pytest.mark.parametrize("name", ["", "UPPER", "../x", "a/b", "x" * 101, "-a"])
def test_a_run_whose_name_is_no_folder_is_refused(name):
    with pytest.raises(ConfigError, match="a run must be named"):
        chain.start_run(read([{"name": "a", "image": IMAGE}]), name, "eod", "ab" * 32)


def test_a_domino_with_a_command_beside_it_is_refused_where_there_is_an_image_for_it_too():
    tasks = [{"name": "a", "domino": "ois_curve", "command": ["x"]}]

    with pytest.raises(ConfigError, match="one of image, command and domino"):
        chain.read_chain("daisy", {"run_in": "pod", "tasks": tasks}, IMAGE)


def test_a_run_that_an_api_server_could_not_note_is_refused_before_it_starts():
    tasks = [{"name": "a", "image": IMAGE, "params": {"rows": "x" * 70_000}}]

    with pytest.raises(ConfigError, match=r"would be \d+ \(dominoes.daisy\): shorten params"):
        chain.start_run(read(tasks), "r1", "eod", "ab" * 32)


def test_the_longest_chain_that_may_be_declared_can_be_noted():
    names = [f"t{n}" for n in range(chain.STAGES_MAX)]
    tasks = [{"name": n, "image": IMAGE, "needs": names[:i][-8:]} for i, n in enumerate(names)]

    assert chain.start_run(read(tasks), "r1", "eod", "ab" * 32).stages[63].needs[0] == 56


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": "r1"}', '{"stages": [{}]}'])
def test_a_text_that_is_no_run_is_refused_as_such(text):
    with pytest.raises(ConfigError, match="as this release writes it"):
        chain.decode_run(text)
