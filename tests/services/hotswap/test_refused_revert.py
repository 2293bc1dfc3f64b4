"""A pod of before an upgrade: its placeholder is on no list any more."""

from orrery_services.hotswap import app
from orrery_services.hotswap.port import Refused
from orrery_services.hotswap.runs import FileRuns

from .objects import IDLE_IMAGE, a_pod_at, a_run
from .test_decide import crashed
from .test_watch import Memo


class Listed:
    """An API server whose list of images has no placeholder of before."""

    def __init__(self, pod):
        self.pod, self.deleted = pod, []

    def get(self, name):
        return self.pod

    def patch(self, name, version, annotations, images):
        if IDLE_IMAGE in images.values():
            raise Refused("403 the image of a slot must be one that the ConfigMap images lists")
        meta = self.pod["metadata"]
        noted = {**meta["annotations"], **annotations}
        self.pod = {**self.pod, "metadata": {**meta, "annotations": noted}}
        return self.pod

    def delete(self, name, uid):
        self.deleted.append(uid)


def test_a_failed_run_ends_as_what_it_was_where_the_placeholder_is_not_listed_any_more(tmp_path):
    run = a_run(id="run-1")
    runs = FileRuns(tmp_path)
    runs.request(run)
    pod = a_pod_at(1, crashed(65, 1), run)
    port = Listed(pod)
    controller = app.Controller(port, runs, ["domino-0"], lambda _: Memo())
    controller._latest["domino-0"] = pod
    for _ in range(5):
        controller._turn_safely("domino-0")
    assert port.deleted
    end = runs.events("run-1")[-1]
    told = end["result"]
    assert (end["kind"], told["class"], told["exit_code"]) == ("failed", "permanent", 65)
    assert runs.open_runs() == []
