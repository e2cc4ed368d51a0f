"""The bench: the model, the windows that it reads, and tables of what was measured, so that nothing is read twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from l2m_design.architecture.plans import CachePlan, Shape
from l2m_design.corpus import Corpus
from l2m_design.corpus.facts import with_facts
from l2m_design.corpus.text import TextCorpus
from l2m_design.corpus.tokenizers import HuggingFaceTokenizer
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.search.adoption.knapsack import Unit
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.adoption.table import Lines, cost_key, key_of, plan_name
from l2m_design.search.adoption.work import COSTS, PREDICTED
from l2m_design.settings import fingerprint
from l2m_design.training.batches import held_out_windows
from l2m_design.training.caches import repeats
from l2m_design.training.context import contexts_of
from l2m_design.training.healing import Healing
from l2m_design.training.result import by_document
from l2m_design.training.start import Healed, Read, Replacement, StartModel

RULE = "cache_rule.safetensors"
CONTEXT = 2  # tokens by which a repeated one is known again
FAR = 2  # chunks behind which it counts as far

Progress = Callable[[str, int, int], None]


class Stored:
    """In the place of a model that is not loaded: its shape and fingerprint; whatever it is to read is refused."""

    def __init__(self, shape: Shape, fingerprint: str) -> None:
        self.shape, self.fingerprint = shape, fingerprint
        self.how: Healing | None = None

    def healed_at(self, plan: CachePlan, path: Path, how: Healing) -> Any:
        """In the place of a healed model."""
        found = Stored(self.shape, self.fingerprint)
        found.how = how
        return found

    def __getattr__(self, name: str) -> Any:
        raise BadInput(
            "--reselect: the study has options or windows that were not measured; search again without --reselect"
        )


class Bench:
    """Measures on demand. folder: of the study. bars: told of parts done of a named whole."""

    def __init__(
        self, settings: AdoptionSettings, corpus: Corpus, start: StartModel | Stored, folder: Path, bars: Progress
    ) -> None:
        self.settings, self.corpus, self.start, self.folder, self._bars = settings, corpus, start, folder, bars
        self.identity = fingerprint([settings.measuring, corpus.fingerprint, start.fingerprint])
        self.costs = Lines(folder / "costs.jsonl", self.identity)
        self.plans = Lines(folder / "plans.jsonl", self.identity)
        counts = {"validation": settings.windows.costs, "test": settings.windows.test}
        self.windows = {
            split: held_out_windows(corpus, split, settings.length - 1, count) for split, count in counts.items()
        }

    def fit(self) -> None:
        """Predicted use, where some plan chooses by it."""
        s = self.settings
        if s.by_use:
            sizes = (s.length, s.fit, s.chunk)
            self.start.fit(self.folder / RULE, self.corpus, sizes, lambda d, t: self._bars(PREDICTED, d, t))

    def measure_costs(self, units: list[Unit]) -> None:
        """Every replacement on every validation window."""
        wanted = [(unit, o) for unit in units for o in range(1, len(unit.options))]
        count = len(self.windows["validation"])
        done = 0
        for window in range(count):
            keys = {
                cost_key(window, unit, o): Replacement(unit.layer, unit.heads, unit.options[o]) for unit, o in wanted
            }
            left = {key: each for key, each in keys.items() if key not in self.costs}
            done += len(keys) - len(left)
            if not left and cost_key(window, None) in self.costs:
                continue
            names = {each: key for key, each in left.items()}
            for each, late in self.start.costs(self._tokens("validation", window), list(left.values())):
                key = cost_key(window, None) if each is None else names[each]
                if key not in self.costs:
                    self.costs.add(key, {"late": late}, document=self._document("validation", window))
                done += each is not None
                self._bars(COSTS, done, len(wanted) * count)

    def losses(self, plan: CachePlan | None, split: str, what: str = "late", healed: Healed | None = None) -> Floats:
        """[windows] late losses with a plan, none for the model's own; of `repeated` tokens NaN where none does."""
        plan = plan or CachePlan.own(self.start.shape)
        found = []
        for window, key in enumerate(self._keys(plan, split, healed)):
            if key not in self.plans:
                tokens = self._tokens(split, window)
                read = healed.read(tokens) if healed else self.start.read(plan, tokens)
                self.plans.add(key, self._values(tokens, read), plan=plan.plain())
            found.append(self.plans[key].get(what, np.nan))
        return np.array(found)

    def known(self, plan: CachePlan | None, split: str, healed: Healed | None = None) -> bool:
        """Was every window of a split read with this plan?"""
        keys = self._keys(plan or CachePlan.own(self.start.shape), split, healed)
        return all(key in self.plans for key in keys)

    def _keys(self, plan: CachePlan, split: str, healed: Healed | None) -> list[str]:
        of, windows = f"healed on {healed.how.name}" if healed else "start", self.settings.windows
        probes = {"recall": windows.recall, "context": min(windows.context, len(self.windows["test"]))}
        count = probes[split] if split in probes else len(self.windows[split])
        return [key_of(split, window, plan_name(plan), of) for window in range(count)]

    def cut(self, plan: CachePlan | None, healed: Healed | None = None) -> dict[int, Floats]:
        """By context c in tokens, [windows] late losses on the first test windows with the past cut to c tokens."""
        plan = plan or CachePlan.own(self.start.shape)
        contexts, keys = contexts_of(self.settings.length), self._keys(plan, "context", healed)
        for window, key in enumerate(keys):
            if contexts and key not in self.plans:
                tokens = self._tokens("test", window)
                late = healed.cut(tokens, contexts) if healed else self.start.cut(plan, tokens, contexts)
                self.plans.add(key, {str(c): loss for c, loss in late.items()})
        return {c: np.array([self.plans[key][str(c)] for key in keys]) for c in contexts} if keys else {}

    def measured(self) -> list[CachePlan]:
        """Every plan that all validation windows were read with, in the order of reading."""
        heads = self.start.shape.kv_heads
        plans = dict.fromkeys(CachePlan.of_plain(told["plan"], heads) for told in self.plans.told if "plan" in told)
        return [plan for plan in plans if self.known(plan, "validation")]

    def own_costs(self) -> Floats:
        """[windows] late losses of the model itself on validation windows, from the table of costs."""
        return np.array([self.costs[cost_key(w, None)]["late"] for w in range(len(self.windows["validation"]))])

    def healed(self, plan: CachePlan, how: Healing, on_step: Callable[[int, int], None]) -> Healed:
        """The model distilled with a plan, once; its weights are kept in the folder."""
        path = healed_path(self.folder, plan_name(plan), how)
        if path.exists():
            return self.start.healed_at(plan, path, how)
        healed = self.start.healed(plan, self.corpus, self.settings.length, how, on_step)
        healed.save(path)
        return healed

    def kept(self, plan: CachePlan, how: Healing) -> Healed | None:
        """The model distilled with a plan, if it was, and all test windows were read before and after."""
        path = healed_path(self.folder, plan_name(plan), how)
        healed = self.start.healed_at(plan, path, how) if path.exists() else None
        return healed if healed and self.known(plan, "test") and self.known(plan, "test", healed) else None

    def by_document(self, losses: Floats, split: str) -> list[float]:
        """Losses of the first windows [windows] as those of documents, or of windows where these are few."""
        there = ~np.isnan(losses)
        cluster = self.windows[split].cluster[: len(losses)]
        return by_document(losses[there], cluster[there]).tolist() if there.any() else []

    def recall(self, plan: CachePlan | None, healed: Healed | None = None) -> dict[str, float]:
        """Shares of digits that were the likeliest token, needle and keys; empty where the corpus is no text."""
        encode = _encoder(self.corpus)
        if encode is None or not self.settings.windows.recall:
            return {}
        plan = plan or CachePlan.own(self.start.shape)
        found = []
        for window, key in enumerate(self._keys(plan, "recall", healed)):
            if key not in self.plans:
                asked = with_facts(self._tokens("test", window), crc32(f"window {window}".encode()), encode)
                read = healed.read(asked.tokens) if healed else self.start.read(plan, asked.tokens)
                late = len(read.right)
                shares = {"needle": read.right[asked.needle[-late:]], "keys": read.right[asked.keys[-late:]]}
                self.plans.add(key, {what: float(right.mean()) for what, right in shares.items()})
            found.append(self.plans[key])
        return {what: float(np.mean([each[what] for each in found])) for what in ("needle", "keys")}

    def _values(self, tokens: np.ndarray, read: Read) -> dict[str, float]:
        again = repeats(tokens[None], CONTEXT, FAR * self.settings.chunk)[0][-len(read.nats) :]
        values = {"late": float(read.nats.mean())}
        return values | ({"repeated": float(read.nats[again].mean())} if again.any() else {})

    def _tokens(self, split: str, window: int) -> np.ndarray:
        tokens: np.ndarray = self.windows[split].tokens(slice(window, window + 1))[0]
        return tokens

    def _document(self, split: str, window: int) -> int:
        return int(self.windows[split].document[window])


def check_recall(settings: AdoptionSettings, corpus: Corpus) -> None:
    """Raises BadInput where windows are too short for the facts that are to be recalled."""
    encode, count = _encoder(corpus), settings.windows.recall
    if encode and count:
        try:
            with_facts(np.zeros(settings.length, dtype=np.int64), 0, encode)
        except BadInput as error:
            raise BadInput(f"windows.recall: {count}: {error}; give a larger `length`, or windows.recall: 0") from None


def _encoder(corpus: Corpus) -> Callable[[str], list[int]] | None:
    """Tokens of a text, as the corpus has them; None where its tokens are of no tokenizer, or bytes."""
    tokenizer = corpus.tokenizer if isinstance(corpus, TextCorpus) else None
    return (lambda text: tokenizer.encode(text).tolist()) if isinstance(tokenizer, HuggingFaceTokenizer) else None


def healed_path(folder: Path, plan: str, how: Healing) -> Path:
    """Where the weights that were distilled with a plan lie in a study's folder."""
    return folder / f"healed-{plan}-{how.name}.safetensors"
