"""What survives interruption, and what the next session of a study does."""

import time

import pytest

from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Outcome
from l2m_design.search.run import Interrupted


def test_an_interrupted_search_keeps_its_trials_and_goes_on_to_the_same_plan(
    opened, trained, designs, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = opened()
    pretend = processes.run_isolated

    def interrupted(*arguments) -> Outcome:
        if len(trained) == 3:
            raise KeyboardInterrupt
        return pretend(*arguments)

    monkeypatch.setattr(processes, "run_isolated", interrupted)
    with pytest.raises(Interrupted, match="3 of 8 trials are saved"):
        search.run()
    monkeypatch.setattr(processes, "run_isolated", pretend)
    again = opened()
    summary = again.run(resume=True)
    assert {row["design"] for row in summary["baselines"]} == designs
    assert len(summary["baselines"]) == 7
    assert len(trained) == 8
    assert len({r["number"] for r in summary["records"]}) == len(summary["records"])


def test_a_finished_study_is_not_searched_again(opened, trained) -> None:
    for _ in range(2):
        search = opened()
        summary = search.run()
    assert len(trained) == 8
    assert len(summary["records"]) >= 8


def test_more_trials_may_be_asked_of_a_finished_study(opened, trained) -> None:
    for trials in (0, 2):
        search = opened(f"search.trials={trials}")
        search.run()
    assert len(trained) == 9


def test_a_known_design_cut_short_is_asked_again_under_its_own_name(opened, trained, monkeypatch) -> None:
    """Ctrl-C in the middle of a draw leaves only the first picks: they must not become another drawing."""
    from l2m_design.search.space.space import Space

    draw = Space.draw
    monkeypatch.setattr(Space, "draw", _interrupted_after_one_pick)
    with pytest.raises(Interrupted):
        opened().run()
    monkeypatch.setattr(Space, "draw", draw)
    summary = opened().run()
    assert next(row for row in summary["baselines"] if row["design"] == "all attention")["picture"] == "A A"


def _interrupted_after_one_pick(space, pick, vocabulary) -> None:
    pick("layer0.kind", list(space.kinds))
    raise KeyboardInterrupt


def test_time_of_every_session_is_counted(opened, trained, monkeypatch) -> None:
    pretend = processes.run_isolated

    def slow_then_interrupted(*arguments) -> Outcome:
        time.sleep(1.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "run_isolated", slow_then_interrupted)
    search = opened()
    with pytest.raises(Interrupted):
        search.run()
    assert search.folder.seconds > 1.5
    monkeypatch.setattr(processes, "run_isolated", pretend)
    assert opened().run()["seconds"]["total"] > 1.5


def test_damaged_small_files_cost_no_study(opened, trained) -> None:
    search = opened()
    search.run()
    for name in ("seconds.json", "tracked.json"):
        (search.folder.path / name).write_text('{"total": 1')
    assert opened().run(resume=True)["trials"]["complete"] > 0
