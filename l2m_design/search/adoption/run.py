"""An adoption study from its settings to its summary: costs, knapsack, measured plans, correction, test, healing."""

from dataclasses import replace
from typing import Any

from l2m_design.architecture.plans import CachePlan, Shape
from l2m_design.condition import Demand
from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput, named
from l2m_design.estimates import FEWEST_DOCUMENTS
from l2m_design.information.scores.huggingface import load_config
from l2m_design.laws import PowerLaw
from l2m_design.measuring.scorer import check_vocabulary, own_tokenizer
from l2m_design.model.adopted import shape_in
from l2m_design.model.backends import use_threads
from l2m_design.search import demand as demands
from l2m_design.search.adoption.bench import Bench, Stored, check_recall
from l2m_design.search.adoption.knapsack import Knapsack, Rules, Unit, units_of
from l2m_design.search.adoption.results import AdoptionSummary, plain
from l2m_design.search.adoption.sent import adoption_tracker, finish_adoption
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.adoption.stages import Measuring
from l2m_design.search.adoption.work import Work, work_of
from l2m_design.search.driver import Listener
from l2m_design.search.folder import StudyFolder, leaving_no_trace, read_kept
from l2m_design.search.results.reading import STUDY
from l2m_design.search.run import Folders, Interrupted
from l2m_design.search.tracking.store import check_experiment, check_uri
from l2m_design.search.tracking.tracker import Tracker
from l2m_design.search.watch import STATUS, Watch
from l2m_design.settings import to_json, write_atomically
from l2m_design.training.batches import held_out_windows
from l2m_design.training.lora import check_lora
from l2m_design.training.start import StartModel, speed, with_states

FACTS = "start.json"


class Adoption:
    """One study in its folder. Raises BadInput before any weights are loaded when it cannot run."""

    def __init__(self, settings: AdoptionSettings, folders: Folders, tracking_uri: str) -> None:
        self.settings = settings
        self.folder = StudyFolder(folders.runs / settings.name)
        self.report_folder = folders.reports / settings.name
        self.tracking_uri = tracking_uri
        self.tracker: Tracker | None = None  # once it runs
        check_uri(tracking_uri)
        if settings.finetune and settings.finetune.method == "lora":
            check_lora("finetune.method")
        self.config: Any = load_config(settings.start, "start:")
        with named(f"start: {settings.start}"):
            self.shape: Shape = with_states(self.config, shape_in(self.config, bounded=False))
        own = own_tokenizer(settings.start)
        self.corpus = open_corpus(settings.corpus, otherwise=own)
        self._check_tokenizer(own)
        self._check_lengths()
        self.units: list[Unit] = units_of(self.shape, settings.kept, settings.grain)
        if all(len(unit.options) == 1 for unit in self.units):
            raise BadInput(
                "options: no cache is smaller than those that the layers already have; add one, such as "
                "{cache: window, share: 0.25}"
            )
        self._check_windows()
        check_recall(settings, self.corpus)
        self._check_budgets()

    def _check_tokenizer(self, own: str | None) -> None:
        from l2m_design.corpus.text import TextCorpus
        from l2m_design.corpus.tokenizers import Bytes, HuggingFaceTokenizer

        read = self.corpus.tokenizer if isinstance(self.corpus, TextCorpus) else None
        if isinstance(read, Bytes) and read.assumed:
            raise BadInput(
                f"start: {self.settings.start}: no tokenizer that can be loaded; add one to the corpus, as in "
                f"{self.corpus.name}:tokenizer=NAME, or tokenizer=bytes if the model reads bytes"
            )
        text = self.config.get_text_config()
        check_vocabulary(self.corpus, self.settings.start, int(text.vocab_size))
        if own and read and read.fingerprint != HuggingFaceTokenizer(own).fingerprint:
            raise BadInput(
                f"corpus: {self.corpus.name}: has another tokenizer than the model; leave `tokenizer` out to use that "
                "of the model"
            )

    def _check_lengths(self) -> None:
        longest = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        target = self.settings.condition.length
        if longest is not None and target > longest:
            where = "length" if self.settings.length > longest else "condition.length"
            raise BadInput(
                f"{where}: {target}: must be at most {longest}, the number of positions of {self.settings.start}"
            )

    def _check_budgets(self) -> None:
        """Under the demand, where it is given; one that is to be measured is held to them when it is known."""
        measured = self.settings.demand and self.settings.demand.measure
        self.budgets(self.knapsack(None if measured else self._demand(Listener())[0]))

    def _check_windows(self) -> None:
        """Raises BadInput where windows would overlap, or too few documents are held out to confirm anything."""
        length, asked = self.settings.length, self.settings.windows
        for split, key, count in (("validation", "costs", asked.costs), ("test", "test", asked.test)):
            windows = held_out_windows(self.corpus, split, length - 1, count)
            room = int((windows.documents.lengths // length).sum())
            if count > room:
                raise BadInput(
                    f"windows.{key}: {count}: only {room} windows of {length} tokens fit into the {split} documents of "
                    f"{self.corpus.name} without overlap; give at most {room}, more documents, or a smaller `length`"
                )
        documents = len(set(windows.cluster.tolist()))
        if documents < FEWEST_DOCUMENTS:
            raise BadInput(
                f"windows.test: {asked.test} windows of {length} tokens come from {documents} test documents of "
                f"{self.corpus.name}, but at least {FEWEST_DOCUMENTS} documents are needed to confirm a choice; give a "
                "larger windows.test, more documents, or a smaller `length`"
            )

    def work(self) -> Work:
        """What would be read."""
        return work_of(self.settings, self.config, self.shape, self.units)

    def hours(self) -> float:
        """That this takes, about: at the given speed, else at that of this machine."""
        given = self.settings.teraflops
        return self.work().total / (given * 1e12 if given else speed(self.settings.device)) / 3600

    def run(self, fresh: bool = False, resume: bool = False, listener: Listener | None = None) -> AdoptionSummary:
        """Search to the end and write study.json. Raises Interrupted on Ctrl-C: what was measured is kept."""
        listener = listener or Listener()
        with leaving_no_trace(self.folder, self.report_folder):
            for place in (self.folder.path.parent, self.report_folder):
                place.mkdir(parents=True, exist_ok=True)
            check_experiment(self.tracking_uri, self.settings.name)
            with self.folder.alone():
                return self._alone(fresh, resume, listener)

    def _alone(self, fresh: bool, resume: bool, listener: Listener) -> AdoptionSummary:
        if self.settings.threads:
            use_threads(self.settings.threads)
        start = StartModel(self.settings.start, self.settings.device)
        start.begins_as(self.corpus)
        if self.settings.finetune:
            start.check_healing(self.settings.finetune.how, "finetune.method")
        identity = {
            "start": start.fingerprint,
            "corpus": self.corpus.fingerprint,
            "measuring": self.settings.measuring,
        }
        new = self.folder.open(identity, fresh, resume)
        watch = Watch(self.folder.path / STATUS, self.settings.name, listener.status)
        watch.plan(self.work().stages)
        listener = listener.watched(watch)
        bench = Bench(self.settings, self.corpus, start, self.folder.path, listener.progress)
        write_atomically(self.folder.path / FACTS, to_json({"fingerprint": start.fingerprint}))
        try:
            demand, measurement = self._demand(listener)
            knapsack = self.knapsack(demand)
            budgets = self.budgets(knapsack)
        except BadInput:
            watch.end("failed")
            if new:
                for name in (FACTS, "identity.json", "demand.json", STATUS):
                    (self.folder.path / name).unlink(missing_ok=True)
            raise
        self.tracker = tracker = self._tracker()
        try:
            with tracker.ending(), self.folder.session():
                found = Measuring(bench, knapsack, listener).summary(budgets, tracker)
            summary = replace(found, seconds=self.folder.seconds, demand=_plain(demand, measurement))
            finished = self._finished(summary, tracker)
            watch.end("finished")
            return finished
        except KeyboardInterrupt:
            watch.end("interrupted")
            told = f"{len(bench.costs)} costs and {len(bench.plans)} losses of plans are saved"
            raise Interrupted(told) from None
        finally:
            watch.end("failed")

    def reselect(self) -> AdoptionSummary:
        """Other budgets, another demand or delta, from what is stored; nothing is read. Raises BadInput."""
        facts = read_kept(self.folder.path / FACTS)
        if not facts:
            raise BadInput(f"--reselect: {self.folder.path} contains no study; search it first")
        stored = Stored(self.shape, facts["fingerprint"])
        bench = Bench(self.settings, self.corpus, stored, self.folder.path, lambda what, done, total: None)
        if self.settings.demand and self.settings.demand.measure and not (self.folder.path / "demand.json").exists():
            raise BadInput(
                "--reselect: the requirement was not measured in this study; give it, as in --set 'demand={beta: 0.7, "
                "prefactor: 5}'"
            )
        demand, measurement = self._demand(Listener())
        knapsack = self.knapsack(demand)
        found = Measuring(bench, knapsack, Listener()).stored(self.budgets(knapsack))
        summary = replace(found, seconds=self.folder.seconds, demand=_plain(demand, measurement))
        place = self.report_folder / "reselected"
        place.mkdir(parents=True, exist_ok=True)
        summary = replace(summary, report=str(place / "index.html"))
        write_atomically(place / STUDY, to_json(plain(summary)))
        return summary

    def knapsack(self, demand: Demand | None) -> Knapsack:
        """All plans, held to this demand."""
        terms, own = self.settings.condition, CachePlan.own(self.shape)
        limits = tuple(
            (length, most * own.bytes(length, self.shape.head_dim, terms.dtypes) if most <= 1 else most)
            for length, most in sorted(self.settings.limits.items())
        )
        rules = Rules(terms.length, terms.dtypes, demand, self.settings.enforce, limits)
        return Knapsack(self.shape, self.units, rules)

    def budgets(self, knapsack: Knapsack) -> list[float]:
        """In bytes, from the largest down. Raises BadInput where no plan fits one, or one is no budget of its own."""
        least = knapsack.least()
        if least is None:
            if limits := self.settings.limits:
                told = ", ".join(f"{length}: {most:g}" for length, most in limits.items())
                raise BadInput(f"limits: no plan meets {{{told}}} and what else is required; give higher limits")
            raise BadInput(
                "demand: no plan meets the condition, not even the full cache of the model; change demand or enforce"
            )
        found: list[float] = []
        for number, budget in enumerate(self.settings.budgets):
            asked = budget * knapsack.own_bytes if budget <= 1 else budget
            if asked < (floor := knapsack.bytes(least)):
                share = floor / knapsack.own_bytes
                raise BadInput(
                    f"budgets.{number}: {budget:g}: {asked:,.0f} bytes are less than the smallest plan needs "
                    f"({least.picture}: {floor:,} bytes, {share:.3g} of the model's state); give at least that, or "
                    "options with smaller caches"
                )
            if asked > knapsack.own_bytes:
                raise BadInput(
                    f"budgets.{number}: {budget:g}: {asked:.4g} bytes are more than the state of the model itself "
                    f"({knapsack.own_bytes:,} bytes); give a share of at most 1, or fewer bytes"
                )
            if asked in found:
                raise BadInput(
                    f"budgets.{number}: {budget:g}: is the same budget as budgets.{found.index(asked)}; remove one"
                )
            found.append(asked)
        return sorted(found, reverse=True)

    def _demand(self, listener: Listener) -> tuple[Demand | None, dict[str, Any] | None]:
        """Measured once a study and kept, or given."""
        settings = self.settings.demand
        if settings is None:
            return None, None
        if settings.measure is None:
            return demands.demand_of(demands.law_of(settings, self.corpus), settings, self.settings.condition), None
        kept = self.folder.path / "demand.json"
        known_ = read_kept(kept)
        if known_.get("asked") != settings.plain():
            split = settings.measure.split or ("validation" if settings.model == "train" else "train")
            measure = settings.measure.model_copy(update={"split": split})
            law, measurement = demands.measured_demand(
                self.corpus, measure, settings.model, self.settings.device, listener.progress
            )
            known_ = {"asked": settings.plain(), "law": law.plain(), "measurement": measurement}
            write_atomically(kept, to_json(known_))
        law = PowerLaw.of_plain(known_["law"])
        return demands.demand_of(law, settings, self.settings.condition), known_["measurement"]

    def _tracker(self) -> Tracker:
        corpus = {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint}
        return adoption_tracker(self.tracking_uri, self.settings, corpus, self.folder.path)

    def _finished(self, summary: AdoptionSummary, tracker: Tracker) -> AdoptionSummary:
        path = self.report_folder / STUDY
        summary = replace(summary, report=str(self.report_folder / "index.html"), tracking_uri=self.tracking_uri)
        write_atomically(path, to_json(plain(summary)))
        finish_adoption(tracker, summary, path)
        if tracker.notes:
            summary = replace(summary, notes=[*summary.notes, *tracker.notes])
            write_atomically(path, to_json(plain(summary)))
        return summary


def _plain(demand: Demand | None, measurement: dict[str, Any] | None) -> dict[str, Any] | None:
    """What study.json tells of the demand."""
    if demand is None:
        return None
    return {
        "law": demand.law.plain(),
        "formula": demand.law.formula(),
        "exponent": demand.exponent,
        "growth": demand.growth,
        "has_level": demand.has_level,
        "measurement": measurement,
    }
