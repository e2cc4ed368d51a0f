"""What a search costs besides training, and how many training tokens it saves: replay, rejections, overhead, workers.

Run: python benchmarks/search.py [replay] [regrets] [rejections] [overhead] [workers]. `replay` and `regrets` need the
table that `l2m search benchmarks/search_table.yaml` trains; `keep` shortens its study.json in reports/search-table.
The others run small studies in a temporary folder and want an idle machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from l2m_design.condition import Demand
from l2m_design.laws import PowerLaw
from l2m_design.search.executors.local import local_executor
from l2m_design.search.executors.processes import Job
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from l2m_design.search.study.pruners import pruner, resource
from l2m_design.search.study.sampler import FeasibleSampler, inner_sampler
from l2m_design.search.trials.candidates import Candidates
from l2m_design.terms import Terms

HERE = Path(__file__).parent
TABLE = HERE.parent / "reports" / "search-table" / "table.json"
KEPT = ("settings", "space", "demand", "corpus")
SEEDS, RANDOM_TRIALS, SHARE = range(5), 64, 1 / 3


@dataclass(frozen=True)
class Table:
    """Trained drawings by fingerprint: penalised value, its values at the rungs, tokens of rungs and end."""

    settings: StudySettings
    space: Space
    demand: Demand
    vocabulary: int
    trained: dict[str, dict[str, Any]]

    def value(self, fingerprint: str) -> float:
        return float(self.trained[fingerprint]["value"])

    def penalty(self, fingerprint: str) -> float:
        row = self.trained[fingerprint]
        return float(row["value"] - row["late_loss"])

    def regret(self, fingerprint: str) -> float:
        """Nats a token by which the best feasible design with no more state loses less."""
        row = self.trained[fingerprint]
        rivals = (r["late_loss"] for r in self.trained.values() if r["state_bytes"] <= row["state_bytes"])
        return float(row["late_loss"] - min(rivals))


def keep() -> None:
    """Of the trained study only what is replayed."""
    summary = json.loads((TABLE.parent / "study.json").read_text())
    names = ("fingerprint", "picture", "value", "rungs", "state_bytes")
    rows = [
        {name: record[name] for name in names} | {"late_loss": record["result"]["late_loss"]}
        for record in summary["records"]
        if record["state"] == "complete" and record["copy_of"] is None
    ]
    TABLE.write_text(json.dumps({name: summary[name] for name in KEPT} | {"rows": rows}, indent=0))
    print(f"{len(rows)} rows in {TABLE.name}")


def load_table() -> Table:
    summary = json.loads(TABLE.read_text())
    settings = StudySettings.parse(summary["settings"], "table")
    demand = Demand(PowerLaw.of_plain(summary["demand"]["law"]), Terms.parse(summary["demand"]["terms"], "terms"))
    space = Space.parse(summary["space"], "space").resolved(demand.exponent)
    vocabulary = summary["corpus"]["vocabulary"]
    return Table(settings, space, demand, vocabulary, {row["fingerprint"]: row for row in summary["rows"]})


def best_of_random(table: Table, seed: int) -> tuple[float, int]:
    """The best penalised value of RANDOM_TRIALS drawings of the table, and the tokens they take."""
    rng = np.random.default_rng(seed)
    names = rng.choice(sorted(table.trained), RANDOM_TRIALS, replace=False)
    return min(table.value(name) for name in names), RANDOM_TRIALS * table.settings.recipe.tokens


def tokens_to_reach(table: Table, goal: float, sampler: str, rule: str, seed: int, most: int) -> int | None:
    """Training tokens until a complete trial is as good as the goal; none where `most` tokens did not do."""
    searched = searching(table, sampler, rule, seed, most)
    return next((spent for spent, name in searched if table.value(name) <= goal + 1e-12), None)


def searching(table: Table, sampler: str, rule: str, seed: int, most: int) -> Iterator[tuple[int, str]]:
    """The complete trials of a search in their order, with the tokens spent so far, until `most` are spent."""
    settings = table.settings
    search = settings.search.model_copy(update={"pruner": rule, "sampler": sampler, "seed": seed})
    candidates = Candidates(settings, table.space, table.demand, table.vocabulary)
    seen: set[str] = set()

    def name_of(picks: dict[str, Any]) -> str:
        return candidates.drawn(lambda question, options: picks[question]).architecture.fingerprint

    def offered(picks: dict[str, Any]) -> bool:
        return candidates.feasible(picks) and name_of(picks) in table.trained

    inner = inner_sampler(sampler, seed, 2 * search.warmup_trials, RANDOM_TRIALS, parallel=False)
    asks = FeasibleSampler(
        sampler, inner, candidates.questions, offered, lambda picks: name_of(picks) not in seen, seed
    )
    rules = pruner(search, settings.recipe)
    study = optuna.create_study(study_name=f"{sampler}-{rule}-{seed}", sampler=asks, pruner=rules)
    spent = 0
    while spent < most:
        trial = study.ask()
        found = candidates.drawn(trial.suggest_categorical)
        for constraint, amount in (candidates.constraints(found) | {"memory": -1.0}).items():
            trial.set_constraint(constraint, amount)
        name = found.architecture.fingerprint
        row = table.trained[name]
        if name in seen:
            study.tell(trial, table.value(name))
            continue
        seen.add(name)
        gone, stopped = 0, False
        for number, (tokens, loss) in enumerate(row["rungs"]):
            gone = tokens
            trial.report(loss + table.penalty(name), resource(search, number + 1))
            if rule != "none" and trial.should_prune():
                stopped = True
                break
        spent += gone if stopped else settings.recipe.tokens
        if stopped:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, table.value(name))
            yield spent, name


def replay() -> None:
    """Tokens that each sampler and rule needs for the quality of the best of 64 random trials, as a share of theirs."""
    table = load_table()
    print(f"{len(table.trained)} trained drawings; goal: the best of {RANDOM_TRIALS} random ones, by seed")
    values = sorted(table.value(name) for name in table.trained)
    goals = [best_of_random(table, seed) for seed in SEEDS]
    print("ranks of the goals:", [1 + sum(v < goal for v in values) for goal, _ in goals])
    print(f"{'sampler':<8} {'rule':<10} {'share of tokens, by seed':<44} mean")
    for sampler in ("tpe", "random", "nsga2", "gp"):
        for rule in ("none", "median", "asha", "hyperband"):
            shares = []
            for seed, (goal, cost) in zip(SEEDS, goals, strict=True):
                spent = tokens_to_reach(table, goal, sampler, rule, seed, cost)
                shares.append(spent / cost if spent else 1.0)
            shown = " ".join(f"{share:.2f}" for share in shares)
            print(f"{sampler:<8} {rule:<10} {shown:<44} {statistics.mean(shares):.3f}", flush=True)


def regrets() -> None:
    """Late loss of the design chosen with the tokens of 64 random trials, less the best feasible at its state."""
    table = load_table()
    most = RANDOM_TRIALS * table.settings.recipe.tokens
    print(f"{'sampler':<8} {'rule':<10} {'nats a token above the best at its state, by seed':<52} mean")
    for sampler in ("tpe", "gp", "nsga2", "random"):
        for rule in ("none", "median", "asha"):
            found = []
            for seed in SEEDS:
                done = [name for _, name in searching(table, sampler, rule, seed, most)]
                found.append(table.regret(min(done, key=table.value)))
            shown = " ".join(f"{regret:.4f}" for regret in found)
            print(f"{sampler:<8} {rule:<10} {shown:<52} {statistics.mean(found):.4f}", flush=True)


def rejections() -> None:
    """Milliseconds to draw, judge and refuse a drawing, over the shipped spaces."""
    for path in sorted((HERE.parent / "search_spaces").glob("*.yaml")):
        space = Space.load(path).resolved(0.7)
        plain = {"name": "r", "corpus": "stdlib", "space": str(path), "demand": {"beta": 0.7}}
        settings = StudySettings.parse(plain, "benchmark")
        candidates = Candidates(settings, space, Demand(PowerLaw(5.0, 0.7), Terms()), 256)
        rng = np.random.default_rng(0)
        times = []
        for _ in range(300):
            picks = {q: options[rng.integers(len(options))] for q, options in candidates.questions.items()}
            began = time.perf_counter()
            candidates.feasible(picks)
            times.append(1000 * (time.perf_counter() - began))
        times.sort()
        print(f"{path.name:<20} median {times[150]:.2f} ms, 99% {times[297]:.2f} ms, largest {times[-1]:.2f} ms")


def small_study(folder: Path, *overrides: str) -> dict[str, Any]:
    """A study of a few trials of some seconds each, on one thread a worker, by the command line as a user runs it.

    Called from here instead, each trial's process would import this script and all that it imports: 0.6 s.
    """
    base = ("search.known_designs=false", "threads=1", "search.pruner=none", *overrides)
    words = [word for override in base for word in ("--set", override)]
    places = ["--runs", folder / "runs", "--reports", folder / "reports", "--tracking", f"sqlite:///{folder}/mlflow.db"]
    command = [sys.executable, "-m", "l2m_design", "search", HERE / "search_table.yaml", *places, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return json.loads((folder / "reports" / "search-table" / "study.json").read_text())


def overhead() -> None:
    """Seconds a trial outside of training and evaluating, and their share at 30 s trials."""
    for sampler in ("tpe", "gp"):
        with tempfile.TemporaryDirectory() as folder:
            found = small_study(Path(folder), f"search.sampler={sampler}", "search.trials=20", "recipe.tokens=8192",
                                "search.warmup_trials=2")  # fmt: skip
            report_overhead(sampler, found, f"sqlite:///{folder}/runs/search-table/optuna.db")


def report_overhead(name: str, summary: dict[str, Any], url: str) -> None:
    """Medians over a study's complete trials: inside a trial besides training and evaluating, and between trials."""
    own = [r for r in summary["records"] if r["state"] == "complete" and r["copy_of"] is None]
    inside = [r["seconds"] - r["result"]["train_seconds"] - r["result"]["evaluate_seconds"] for r in own]
    trials = optuna.load_study(study_name=summary["study"], storage=url).trials
    times = sorted((t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start and t.datetime_complete)
    between = [(later - ended).total_seconds() for (_, ended), (later, _) in pairwise(times)]
    each = statistics.median(inside) + statistics.median(between)
    asked = statistics.median(inside[len(inside) // 2 :])
    print(
        f"{name}: {statistics.median(inside):.2f} s in a trial ({asked:.2f} in the later half), "
        f"{statistics.median(between):.2f} s between trials: {each / 30:.1%} of a trial of 30 s"
    )


def workers() -> None:
    """Wall time of the same 8 trials by one worker and by two, one thread each."""
    walls = {}
    for count in (1, 2, 1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found = small_study(Path(folder), f"workers={count}", "search.sampler=random", "search.trials=8",
                                "recipe.tokens=128000")  # fmt: skip
            walls.setdefault(count, []).append(found["seconds"]["total"])
            busy = found["seconds"]["training"] + found["seconds"]["evaluating"]
            print(f"{count} workers: {found['seconds']['total']:.1f} s wall, {busy:.1f} s of training and evaluating")
    print(f"ratio of medians {statistics.median(walls[1]) / statistics.median(walls[2]):.2f}")


def jobs() -> None:
    """Wall time of 200 jobs of about 1 s through two local slots, and of the longest wait for the first step."""
    plain = {"name": "j", "corpus": "stdlib", "space": "x.yaml", "demand": {"beta": 0.7}, "workers": 2, "threads": 1}
    settings = StudySettings.parse(plain | {"device": "cpu"}, "benchmark")
    table = load_table()
    drawing = table.space.fitted([{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 16}] * 4, 256)
    corpus = "santa-fe:beta=0.5,pairs=128,keys=8,documents=200"
    recipe = {"length": 64, "batch_tokens": 256, "windows": 16, "learning_rate": 1e-3, "rungs": []}

    def job(tokens: int) -> Job:
        return Job(drawing.plain(), corpus, recipe | {"tokens": tokens}, "cpu", 1, None)

    executor = local_executor(settings)
    began = time.perf_counter()
    executor.submit(0, job(20_480))
    while not (event := executor.next()) or not hasattr(event, "outcome"):
        pass
    took = event.outcome.result["train_seconds"]
    print(f"first job, with the start of the server: {time.perf_counter() - began:.1f} s, training {took:.2f} s")
    tokens, began, training = int(20_480 / took) // 256 * 256, time.perf_counter(), 0.0
    for number in range(200):
        executor.submit(number, job(tokens))
    done = 0
    while done < 200:
        event = executor.next()
        if event and hasattr(event, "outcome"):
            done += 1
            training += event.outcome.result["train_seconds"] + event.outcome.result["evaluate_seconds"]
    wall = time.perf_counter() - began
    executor.stop()
    print(f"200 jobs, {training / 200:.2f} s of training and evaluating each: {wall:.0f} s by two slots")


def main() -> None:
    measured = {"replay": replay, "regrets": regrets, "rejections": rejections, "overhead": overhead}
    measured |= {"workers": workers, "jobs": jobs}
    parts = measured | {"keep": keep}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=list(measured))
    for part in parser.parse_args().parts:
        print(f"== {part}")
        parts[part]()


if __name__ == "__main__":
    main()
