"""Jobs on a Ray cluster of two simulated nodes, one of which is killed."""

from collections.abc import Iterator
from typing import Any

import pytest

from l2m_design.errors import BadInput
from l2m_design.search.driver import Listener
from l2m_design.search.executors.ray import share
from l2m_design.search.run import Interrupted
from l2m_design.search.settings import StudySettings

LARGE, SMALL = {"CPU": 4.0, "GPU": 2.0}, {"CPU": 1.0}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # all nodes are 127.0.0.1
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
    made = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    made.second = made.add_node(**node)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_lost_node_costs_no_trial(cluster, opened, exactly_once, kept) -> None:
    said: list[str] = []
    search = opened("executor=ray", "workers=2", "search.known_designs=false", "search.trials=6", "recipe.tokens=16384")

    def lose_a_node(record) -> None:
        if cluster.second:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = None

    summary = search.run(listener=Listener(trial=lose_a_node, trouble=said.append))
    assert cluster.second is None
    exactly_once(search.storage_url, 6)
    assert summary["trials"]["failed"] == 0
    said = [sentence for sentence in said if sentence.startswith("ray: ") and "was lost with its" not in sentence]
    assert said[0] == "ray: 2 jobs at once, 1 CPU threads and 0 GPUs each, on 2 nodes"
    assert said[1:] in (
        [],
        ["ray: the cluster has 1 nodes, before it had 2"],
    )  # the search may end before the cluster notices the loss


def test_sigterm_stays_with_the_command_and_a_job_resumed_on_an_actor_is_heard(cluster, opened, tmp_path) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    ask = ("executor=ray", "workers=1", "search.known_designs=false", "recipe.rungs=[0.25, 0.5]", "search.pruner=none")
    search = opened("search.trials=2", *ask)

    def stop(record) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        search.run(listener=Listener(trial=stop))
    assert opened("search.trials=3", *ask).run(resume=True)["trials"]["complete"] == 3
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_corpus_named_from_here_is_found_by_actors(cluster, opened, monkeypatch, tmp_path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"line {n} of many, {n * n}\n" for n in range(20_000)))
    monkeypatch.chdir(tmp_path)
    ask = ("executor=ray", "workers=1", "search.trials=1", "search.known_designs=false", "corpus=text.txt")
    assert opened(*ask).run()["trials"]["complete"] == 1


def test_what_ends_a_worker_on_a_node_is_said_in_one_line(cluster, opened, monkeypatch, tmp_path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"line {n} of many, {n * n}\n" for n in range(20_000)))
    search = opened("executor=ray", "search.trials=1", f"corpus={tmp_path}/text.txt", "search.rates=[1.0]")
    (tmp_path / "text.txt").write_text("".join(f"line {n} of others, {n}\n" for n in range(20_000)))
    with pytest.raises(BadInput, match=r"corpus .* differs on a node") as refused:
        search.run()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "nodes", "each"),
    [
        ({"workers": 2}, [LARGE, LARGE], (4, 1)),
        ({"workers": 1}, [LARGE, LARGE], (4, 1)),
        ({"workers": 4, "device": "cpu"}, [LARGE, SMALL], (1, 0)),
        ({"workers": 2, "threads": 3, "gpus_per_trial": 2}, [LARGE], (3, 2)),
        ({"workers": 1}, [SMALL, SMALL], (1, 0)),
        ({"workers": 6, "device": "cpu"}, [{"CPU": 16.0}] * 4, (8, 0)),  # ten each would find room for four
    ],
)
def test_a_worker_asks_for_no_more_than_the_largest_node_has(opened, changes, nodes, each) -> None:
    assert share(_settings(opened, changes), nodes) == each


@pytest.mark.parametrize(
    ("changes", "words"), [({"threads": 5}, "threads: 5"), ({"gpus_per_trial": 3}, "gpus_per_trial: 3")]
)
def test_a_worker_that_no_node_can_hold_is_refused(opened, changes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        share(_settings(opened, changes), [LARGE, SMALL])


def _settings(opened, changes: dict[str, Any]) -> StudySettings:
    return opened("threads=null").settings.model_copy(update=changes)
