"""What is drawn depends on what jobs answered, never on when, nor on how often the search was stopped."""

import random
import threading
import time
from typing import Any

import pytest

from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Outcome
from l2m_design.search.run import Interrupted


def drawn(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Everything that tells two searches apart."""
    keys = ("number", "state", "fingerprint", "rate", "value", "copy_of", "reason", "params")
    records = sorted(summary["records"], key=lambda record: record["number"])
    return [tuple(str(record[key]) for key in keys) for record in records]


ASKS = {
    "one worker": ("search.trials=9", "search.sampler=tpe", "search.warmup_trials=2"),
    "two workers": ("search.trials=9", "workers=2", "search.sampler=tpe", "search.warmup_trials=2"),
    "gp": ("search.trials=6", "workers=2", "search.sampler=gp", "search.warmup_trials=1"),
    "nsga2": ("search.trials=12", "workers=2", "search.mode=pareto", "search.sampler=nsga2"),
    "asha": ("search.trials=9", "workers=2", "search.sampler=tpe", "search.pruner=asha"),
    "hyperband": ("search.trials=9", "workers=3", "search.sampler=tpe", "search.pruner=hyperband"),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_search_stopped_anywhere_ends_as_one_that_was_not(
    opened, trained, monkeypatch: pytest.MonkeyPatch, ask: tuple[str, ...]
) -> None:
    whole = drawn(opened(*ask).run())
    pretend, chance, left = processes.run_isolated, random.Random(1), [3, 6, 4, 100]
    lock = threading.Lock()

    def unsteady(*arguments: Any) -> Outcome:
        with lock:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        time.sleep(chance.uniform(0, 0.05))  # whoever began first may end last
        return pretend(*arguments)

    monkeypatch.setattr(processes, "run_isolated", unsteady)
    stops = 0
    search = opened(*ask)
    while True:
        try:
            again = search.run(fresh=not stops)
            break
        except Interrupted:
            stops += 1
            left.pop(0)
    assert stops == 3
    assert drawn(again) == whole


def test_a_drawing_waits_for_those_it_depends_on(opened, trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two workers trial k needs the ends up to k - 4: one slow job holds nothing up before that."""
    pretend, began = processes.run_isolated, []
    slow = threading.Event()

    def first_is_slow(job: Any, *rest: Any) -> Outcome:
        began.append(job.name.partition(",")[0])
        if began[-1] == "trial 0":
            slow.wait(20)
        elif len(began) == 5:
            time.sleep(1.0)
            slow.set()
        return pretend(job, *rest)

    monkeypatch.setattr(processes, "run_isolated", first_is_slow)
    opened("workers=2", "search.trials=6", "search.known_designs=false", "search.pruner=none").run()
    assert began[:5] == [f"trial {n}" for n in range(4)] + ["trial 4"]
    assert len(began) == 6


def test_asha_and_hyperband_see_the_rungs_of_all_that_ended(opened, trained) -> None:
    from l2m_design.search.record import Record, Records
    from l2m_design.search.study.draws import Draws, Past

    search = opened("search.pruner=asha", "search.trials=9", "search.sampler=random")
    records = [Record(**r) for r in search.run()["records"]]
    descriptor = search._descriptor(search._demand(_quiet())[1])
    asked = Draws(descriptor).asked(len(records), Past(Records(records), {}))
    best = min(r.rungs[0][1] for r in records if r.rungs and r.design is None)
    assert not asked.report([best + 5.0])
    again = Draws(descriptor).asked(len(records), Past(Records(records), {}))
    assert again.picks == asked.picks
    assert again.report([best - 5.0])


def test_a_genetic_sampler_breeds_from_the_second_generation_on(opened, trained, monkeypatch) -> None:
    """Whose generations are told from drawing to drawing; a sampler without them draws evenly for ever."""
    from optuna.samplers import NSGAIISampler

    answers: list[dict[str, Any]] = []
    sample = NSGAIISampler.sample_relative

    def watched(self: Any, *arguments: Any) -> dict[str, Any]:
        answers.append(sample(self, *arguments))
        return answers[-1]

    monkeypatch.setattr(NSGAIISampler, "sample_relative", watched)
    summary = opened("search.trials=24", "search.mode=pareto", "search.sampler=nsga2", "search.pruner=none").run()
    generations = [v for r in summary["records"] for v in r["generation"].values()]
    assert max(generations) >= 1
    assert any(answers)


def test_another_number_of_workers_goes_on_without_drawing_anything_anew(opened, trained, monkeypatch) -> None:
    pretend, left = processes.run_isolated, [11]

    def interrupted(*arguments: Any) -> Outcome:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return pretend(*arguments)

    monkeypatch.setattr(processes, "run_isolated", interrupted)
    ask = ("search.trials=9", "search.sampler=tpe", "search.warmup_trials=2")
    with pytest.raises(Interrupted):
        opened("workers=3", *ask).run()
    left[0] = 100
    records = {r["number"]: r for r in opened("workers=1", *ask).run()["records"]}
    for record in records.values():
        if record["copy_of"] is not None:
            assert record["fingerprint"] == records[record["copy_of"]]["fingerprint"]
    assert sum(r["state"] != "infeasible" and r["copy_of"] is None for r in records.values()) == 16


def test_a_rung_that_is_told_again_gets_the_same_answer(opened, trained, monkeypatch) -> None:
    """A job that was told to stop and was killed before it did goes on from its checkpoint."""
    pretend = processes.run_isolated
    ask = ("search.trials=9", "search.sampler=random", "search.warmup_trials=2", "search.price=0")
    calm = drawn(opened(*ask).run())

    def told_twice(job: Any, on_rung: Any, *rest: Any) -> Outcome:
        return pretend(job, lambda rung: on_rung(rung) is on_rung(rung) and on_rung(rung), *rest)

    monkeypatch.setattr(processes, "run_isolated", told_twice)
    assert drawn(opened(*ask).run(fresh=True)) == calm
    assert any("behind the" in str(trial) for trial in calm)


def _quiet() -> Any:
    from l2m_design.search.driver import Listener

    return Listener()
