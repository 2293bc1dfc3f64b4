"""What a swapped run is made of, told from its end alone."""

import pytest
from orrery_services.errors import ConfigError
from orrery_services.hotswap import lineage

from .pool import Pool, append, shell_chain


@pytest.fixture(scope="module")
def end(tmp_path_factory):
    """The end of a run of three stages, the third of which reads the first two."""
    pool = Pool(tmp_path_factory.mktemp("pool"))
    pool.start()
    read = shell_chain(
        [append("a"), append("b"), "cat $(echo $ORRERY_INPUTS | tr -d '[],\"') > $ORRERY_OUTPUT"]
    )
    last = read.stages[2]._replace(needs=(1, 2))
    yield pool.end_of(pool.ask(read._replace(stages=(*read.stages[:2], last)), "r1"))
    pool.stop()


def test_the_tree_leads_from_the_output_through_every_stage_to_the_input(end):
    made = lineage.explain(end)["made"]

    assert made["name"] == "s3" and made["output"] == end["result"]["output"]
    first, second = made["inputs"]
    assert (first["name"], second["name"]) == ("s1", "s2")
    assert second["inputs"] == [first]
    assert first["inputs"] == [{"input": end["input"], "snapshot": "eod"}]
    assert all(len(each["key"]) == 64 and each["code"] for each in (made, first, second))


def test_a_stage_in_the_middle_can_be_asked_for(end):
    assert lineage.explain(end, "s2")["made"]["inputs"][0]["name"] == "s1"


def test_a_stage_that_is_not_there_is_named_with_those_that_are(end):
    with pytest.raises(ConfigError, match=r"'s9'; there are \['s1', 's2', 's3'\]"):
        lineage.explain(end, "s9")


def test_a_run_that_failed_says_where_and_why_with_what_it_made_and_without(end):
    result = {"status": "failed", "stage": 2, "class": "permanent", "why": "no quotes"}
    failed = {**end, "kind": "failed", "result": result}

    told = lineage.lines(lineage.explain({**failed, "stages": end["stages"][:1]}))

    assert told[0].endswith("attempt 1, failed at stage 2: permanent: no quotes")
    with pytest.raises(ConfigError, match="r1 has made nothing: it failed at stage 2: permanent"):
        lineage.explain({**failed, "stages": []})


def test_for_people_each_input_is_below_what_was_made_of_it(end):
    told = lineage.lines(lineage.explain(end))

    assert told[0].startswith("r1: daisy on eod by this node, attempt 1, completed")
    assert [line.split()[0] for line in told[1:]] == ["s3", "s1", "input", "s2", "s1", "input"]
    assert [len(line) - len(line.lstrip()) for line in told[1:]] == [0, 2, 4, 2, 4, 6]
