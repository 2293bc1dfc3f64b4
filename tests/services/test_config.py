"""A setting has one value, one origin, and one message when it is wrong."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from orrery_services.config import find_root, leaves, load_settings, stack_file, universe_schema
from orrery_services.errors import ConfigError
from psycopg.conninfo import conninfo_to_dict

ROOT = find_root({})


def universe(folder: Path, node: str, text: str = "") -> dict[str, str]:
    """Declare one node below `folder` and return the environment that reads it."""
    path = folder / "nodes" / node / "universe.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'node = "{node}"\n{text}\n[[chains.default]]\nkernel = "vwap"\n')
    return {"ORRERY_NODES_DIR": str(folder / "nodes"), "ORRERY_HOME": str(folder / "home")}


def test_a_value_comes_from_the_environment_before_the_stack_before_the_file(tmp_path):
    env = universe(
        tmp_path, "n1", 'kafka = "file:1"\nconnect = "http://file:1"\ntsdb = "http://f:1"'
    )
    path = stack_file(tmp_path / "home", "n1")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"kafka": "stack:2", "connect": "http://stack:2"}))

    settings = load_settings("n1", env | {"ORRERY_KAFKA": "env:3"})

    assert (settings.kafka, settings.connect, settings.tsdb) == (
        "env:3",
        "http://stack:2",
        "http://f:1",
    )
    assert settings.origins["kafka"] == "ORRERY_KAFKA"
    assert settings.origins["connect"] == "running stack"
    assert settings.origins["tsdb"].endswith("n1/universe.toml")
    assert settings.origins["partitions"] == "default"


def test_every_setting_knows_its_origin():
    settings = load_settings("n1", {})

    assert set(settings.values) == set(settings.origins)
    assert {key for key, _ in leaves(universe_schema(ROOT))} <= set(settings.values)


def test_every_setting_says_what_it_means_and_its_default_is_in_its_range():
    schema = universe_schema(ROOT)

    for key, part in leaves(schema):
        assert part["description"], key
        jsonschema.validate(part["default"], part)


def test_every_limit_limits_something():
    code = "\n".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))

    limits = universe_schema(ROOT)["properties"]["limits"]["properties"]

    assert [name for name in limits if not re.search(rf"\blimits\.{name}\b", code)] == []


def test_the_address_of_one_node_is_not_taken_for_another(tmp_path):
    env = universe(tmp_path, "n1") | {"ORRERY_NODE": "n1", "ORRERY_POSTGRES_HOST": "mine"}
    universe(tmp_path, "n2")
    env |= {"ORRERY_N2_POSTGRES_HOST": "theirs"}

    assert load_settings("n1", env).values["postgres.host"] == "mine"
    assert load_settings("n2", env).values["postgres.host"] == "theirs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limit = 3", "unknown setting 'limit'; did you mean 'limits'?"),
        ("[limits]\nbatch_row_max = 3", "did you mean 'batch_rows_max'?"),
        ("[limits]\nbatch_rows_max = 0", "limits.batch_rows_max must be at least 1, was 0"),
        ("partitions = 'eight'", "partitions must be of type integer, was 'eight'"),
        ("peers = ['N2']", "peers.0 must match"),
        ("partitions = ", "must be TOML"),
        ('[data.static."a/b".c]\nx = 1', "data.static must match ^[^/]{1,256}$, was 'a/b'"),
    ],
)
def test_a_wrong_file_is_told_by_key_rule_value_and_place(tmp_path, text, message):
    env = universe(tmp_path, "n1", text)

    with pytest.raises(ConfigError, match=r"universe\.toml") as caught:
        load_settings("n1", env)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ORRERY_LIMITS_BATCH_ROW_MAX", "3", "did you mean 'ORRERY_LIMITS_BATCH_ROWS_MAX'?"),
        ("ORRERY_LIMITS_BATCH_ROWS_MAX", "many", "must be of type integer, was 'many'"),
        ("ORRERY_LIMITS_BATCH_ROWS_MAX", "-1", "must be at least 1, was -1"),
        ("ORRERY_CONNECT", "localhost", "must match ^https?://, was 'localhost'"),
        ("ORRERY_DOMINOES", "{}", "must be set in universe.toml"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(variable, value, message):
    with pytest.raises(ConfigError, match=variable) as caught:
        load_settings("n1", {variable: value})

    assert message in str(caught.value)


def test_what_only_the_containers_of_a_pod_know_is_no_setting_and_no_mistake(tmp_path):
    env = universe(tmp_path, "n1") | {"ORRERY_HOTSWAP_DRIVER": "kubernetes"}
    pod = ("MEMO_HOST", "MEMO_PORT", "MEMO_URL", "SCRATCH", "TOKEN", "ORDER", "SLOT")

    settings = load_settings("n1", env | {f"ORRERY_{name}": "8900" for name in pod})

    assert settings.values["hotswap.driver"] == "kubernetes"


def test_an_unknown_node_is_told_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"must be one of n1, n2.*was 'n9'"):
        load_settings("n9", {})


def test_a_missing_password_says_where_it_should_be(tmp_path):
    settings = load_settings("n1", universe(tmp_path, "n1"))

    with pytest.raises(ConfigError, match=r"secrets/n1/orrery_reader.*make up"):
        settings.postgres("reader")


def test_a_role_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="was 'king'"):
        load_settings("n1", {}).postgres("king")


def test_the_address_for_people_holds_no_password(tmp_path):
    env = universe(tmp_path, "n1")
    folder = tmp_path / "home" / "secrets" / "n1"
    folder.mkdir(parents=True)
    (folder / "orrery_reader").write_text("hunter2\n")

    settings = load_settings("n1", env)

    assert "hunter2" in settings.postgres("reader")
    assert "hunter2" not in settings.postgres_url("reader")


def test_no_session_waits_long_for_a_server_that_vanished(tmp_path):
    env = universe(tmp_path, "n1")
    folder = tmp_path / "home" / "secrets" / "n1"
    folder.mkdir(parents=True)
    (folder / "orrery_writer").write_text("hunter2\n")

    told = conninfo_to_dict(load_settings("n1", env).postgres("writer"))

    assert 1 <= int(told["connect_timeout"]) <= 15
    assert int(told["tcp_user_timeout"]) <= 15_000
    silent = int(told["keepalives_idle"]) + int(told["keepalives_interval"]) * int(
        told["keepalives_count"]
    )
    assert silent <= 15


def test_settings_cannot_be_changed():
    settings = load_settings("n1", {})

    with pytest.raises(AttributeError):
        settings.limits.batch_rows_max = 3
    with pytest.raises(AttributeError, match="did you mean 'batch_rows_max'"):
        settings.limits.batch_row_max  # noqa: B018
