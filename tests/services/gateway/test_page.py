"""The page of a node: one file each of markup, style and script, and figures from its own store."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest
from orrery_services import metrics
from orrery_services.gateway import figures, page

from tests.services.store.conftest import database, server, writer

__all__ = ["database", "server", "writer"]
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def url(server, database: str) -> Iterator[str]:
    told = metrics.serve("127.0.0.1", 0, metrics.Health())
    settings = SimpleNamespace(
        node="n1",
        peers=("n2",),
        bind_host="127.0.0.1",
        gateway_port=0,
        postgres=lambda role: server.conninfo(database, f"orrery_{role}"),
        metrics_url=lambda name: None if name == "packer" else f"http://127.0.0.1:{told.port}",
    )
    served = page.serve(settings)
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()
    told.shutdown()


def get(url: str) -> tuple[int, dict, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, dict(answer.headers), answer.read()


@pytest.mark.parametrize("path", list(page.FILES))
def test_the_page_is_whole_and_may_load_nothing_from_elsewhere(url, path: str):
    code, headers, body = get(url + path)

    assert code == 200 and len(body) > 500
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in body and b"innerHTML" not in body


def test_the_state_of_a_node_names_its_hops_and_says_which_does_not_answer(url, writer):
    code, _, body = get(url + "/state")
    told = json.loads(body)

    assert (code, told["node"], told["state"]) == (200, "n1", "LEVEL")
    hops = {one["service"]: one for one in told["hops"]}
    assert set(hops) == set(figures.SERVICES)
    assert "away" in hops["packer"] and hops["analytics"]["lag_rows"] >= 0
    assert told["snapshots"] == []


def test_a_node_that_has_not_begun_says_so(url):
    code, _, body = get(url + "/state")

    assert code == 503 and "incarnation" in json.loads(body)["error"]


def test_rows_come_oldest_first_and_a_symbol_is_only_text(url, writer: psycopg.Connection):
    writer.execute("INSERT INTO chain_names (name, chain) VALUES ('default', 'c')")
    for offset in (1, 2):
        outputs = json.dumps({"vwap": offset})
        row = ("c", 0, offset, 0, HOSTILE, offset, outputs)
        writer.execute("INSERT INTO result_rows VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
    writer.commit()

    code, _, body = get(url + "/rows?symbol=" + urllib.request.quote(HOSTILE))

    assert code == 200
    assert [row["outputs"]["vwap"] for row in json.loads(body)] == [1, 2]
    assert json.loads(get(url + "/rows?symbol=x%27)%3B%20DROP%20TABLE--")[2]) == []


def test_an_unknown_path_names_the_known_ones(url):
    code, _, body = get(url + "/admin")

    assert code == 404 and "/state" in json.loads(body)["error"]


def test_the_word_is_what_the_store_says():
    assert page.verdict({"diverged": ["k"], "facts_missing": 3}) == "DIVERGED"
    assert page.verdict({"diverged": [], "facts_missing": 3}) == "CATCHING UP"
