"""A language model with caches of few slots, nothing trained but the rules: what each rule loses to the full cache.

Run: python benchmarks/sparse_kv.py [--config configs/sparse-kv.yaml] [--part first|final] [--dry-run]. The file says
model, texts, arms; see there. Late loss is that of a text's second half. Every cache of a budget holds equally many
slots a kv head on average: the own and the previous chunk, and B(t) old tokens. Each text and arm appends a line to the
results; a line that is there is not run again. Of SmolLM2-135M about 30 seconds a text of 4,096 tokens and arm on one
core; fitting the rules takes five minutes, once.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sparse_kv_oracle import Oracle, future_attention
from sparse_kv_rivals import Exceptions, Merged
from sparse_kv_settings import CACHES, CONFIG, Arm, Part, SparseStudy
from sparse_kv_texts import CORPORA, Text, published, texts
from surprise import kept_rows
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.architecture.thinning import Thinning
from l2m_design.corpus.facts import with_facts
from l2m_design.corpus.tokenizers import HuggingFaceTokenizer
from l2m_design.errors import BadInput
from l2m_design.information.scores.huggingface import load_model
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.competing import Allocation
from l2m_design.model.rules import ExpectedAttention, HeadWindows, HeavyHitters, KeyNorm, LastAttention, Rule, Window
from l2m_design.model.thinned import BorrowedModel
from l2m_design.search.settings import differences
from l2m_design.settings import read_mapping, to_yaml, write_atomically
from l2m_design.training.caches import PIECE, Reader, repeats
from l2m_design.training.observed import observe
from l2m_design.training.rules_fit import fit_expected, fit_head_windows
from l2m_design.training.use_fit import KEPT, regress

BATCH = len(CORPORA)
CPU = torch.device("cpu")
REPEAT = (2, 512)  # tokens of context by which a token is known again, and how far back
RECENT = 0.5  # of the slots beside means: the last tokens


class Whole:
    """The model with its full cache."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def prefill(self, tokens: Tensor, state: Any = None, last: bool = False) -> tuple[Tensor, Any]:
        """Logits [b t v_] of tokens [b t], and the cache after them."""
        said = self.model(tokens, past_key_values=state, use_cache=True, logits_to_keep=int(last))
        return said.logits, said.past_key_values


class Study:
    """The model, and the rules that were fitted to it once."""

    def __init__(self, settings: SparseStudy) -> None:
        self.settings = settings
        source = published(Path(settings.model))
        self.model = load_model(str(source), CPU)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        tokenizer = HuggingFaceTokenizer(str(source))
        self.encode = lambda text: tokenizer.encode(text).tolist()

    def texts(self, part: str, length: int) -> list[Text]:
        """The texts of a part of the study."""
        return texts(part, getattr(self.settings.texts, part), length, self.encode, Path(self.settings.sources))

    @cached_property
    def fitted(self) -> dict[str, Tensor]:
        """Parameters of the rules that are fitted, `rule.name`."""
        settings, path = self.settings, Path(self.settings.fitted)
        if not path.exists():
            budget = GlobalBudget(settings.chunk, "fixed", window=settings.length, sinks=settings.sinks)
            adopted = AdoptedModel(self.model, budget)
            windows = [text.tokens for text in self.texts("fit", settings.fit.length)[: settings.fit.windows]]
            rng, found, began = np.random.default_rng([0, 3]), [], time.perf_counter()
            for window in windows:
                found.append(observe(adopted, window[None], KEPT, rng))
                print(f"observed a window: {time.perf_counter() - began:.0f} s", flush=True)
            regress(adopted.use, found, settings.chunk)
            rules = {"use": adopted.use, "head windows": fit_head_windows(adopted.use, found)}
            rules["expected"] = fit_expected(adopted, windows, settings.length)
            print(f"fitted: {time.perf_counter() - began:.0f} s", flush=True)
            states = {rule: each.state_dict() for rule, each in rules.items()}
            save_file({f"{rule}.{k}": v.contiguous() for rule, z in states.items() for k, v in z.items()}, path)
        return load_file(path)

    def reader(self, arm: Arm, tokens: Tensor) -> Reader:
        """What reads the texts [b t] of an arm; the oracle knows them."""
        if arm.cache == "full":
            return Whole(self.model)
        budget, (rule, _, allocate) = self.settings.budget_of(arm), arm.cache.partition("/")
        if rule == "streaming-llm":
            slots = budget.window + 2 * budget.chunk
            fields = {"choose": "recency", "slots": slots, "chunk": budget.chunk, "sinks": budget.sinks}
            self.model.set_attn_implementation("sdpa")
            return BorrowedModel(self.model, Thinning.parse(fields | {"positions": "cache"}, "streaming-llm"))
        if rule == "merging":
            return Merged(self.model, budget, RECENT)
        if rule == "use":
            adopted = AdoptedModel(self.model, budget, allocate)  # type: ignore[arg-type]
            adopted.use.load_state_dict(self._state("use"))
            return adopted
        if rule == "oracle":
            mass = future_attention(self.model, tokens, budget.chunk)
            return AdoptedModel(self.model, budget, "model", Oracle(mass, self._state("use")["ln_worth"]))
        competing: Allocation = "model" if rule == "head windows" else "head"
        return AdoptedModel(self.model, budget, competing, self._rival(rule, budget))

    def _state(self, rule: str) -> dict[str, Tensor]:
        own = [name for name in self.fitted if name.startswith(f"{rule}.")]
        return {name.removeprefix(f"{rule}."): self.fitted[name] for name in own}

    def _rival(self, name: str, budget: GlobalBudget) -> Rule:
        if name == "expected":
            return ExpectedAttention.of_state(self._state(name))
        if name == "head windows":
            state = self._state(name)
            return HeadWindows(state["ln_ages"].exp(), state["ln_mass"])
        simple = {"window": Window, "tova": LastAttention, "key norm": KeyNorm, "exceptions": Exceptions}
        return HeavyHitters(budget) if name == "h2o" else simple[name]()

    def lines(self, arm: Arm, group: list[Text]) -> Iterator[dict[str, Any]]:
        """What is found of an arm on texts that are read as a batch."""
        began = time.perf_counter()
        plain = [text.tokens[: arm.length] for text in group]
        asked = [
            with_facts(each.numpy(), crc32(text.name.encode()), self.encode)
            for text, each in zip(group, plain, strict=True)
        ]
        recall = arm.task == "recall"
        tokens = torch.stack([torch.from_numpy(each.tokens) for each in asked] if recall else plain)
        nats, right = judged(self.reader(arm, tokens), tokens)
        seconds = (time.perf_counter() - began) / len(group)
        again = torch.from_numpy(repeats(tokens.numpy(), *REPEAT))[:, arm.length // 2 :]
        for row, text in enumerate(group):
            late = nats[row, arm.length // 2 :]
            found = {"late": late.mean(), "repeated": late[again[row]].mean()}
            if recall:
                found = {
                    f"{what} {measure}": values[row, torch.from_numpy(getattr(asked[row], what))].mean()
                    for what in ("needle", "keys")
                    for measure, values in (("nats", nats), ("right", right))
                }
            line = arm._asdict() | {"part": text.part, "corpus": text.corpus, "document": text.name}
            line |= {name: round(float(value), 5) for name, value in found.items()}
            yield line | {"seconds": round(seconds, 1)}


@torch.inference_mode()
def judged(reader: Reader, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Of tokens [b t] read in a stream: nats [b t], and was the token the likeliest one [b t]? Both of the second half
    alone.
    """
    nats, right = (torch.zeros(tokens.shape) for _ in range(2))
    half = tokens.shape[1] // 2
    _, state = reader.prefill(tokens[:, : half - 1], last=True)
    for first in range(half - 1, tokens.shape[1] - 1, PIECE):
        piece = tokens[:, first : min(first + PIECE, tokens.shape[1] - 1)]
        logits, state = reader.prefill(piece, state)
        following = slice(first + 1, first + 1 + piece.shape[1])
        nats[:, following] = F.cross_entropy(logits.transpose(1, 2), tokens[:, following], reduction="none")
        right[:, following] = (logits.argmax(-1) == tokens[:, following]).float()
    return nats, right


def open_results(settings: SparseStudy) -> Path:
    """The file of the study's results. Raises BadInput where its lines were found under other conditions."""
    path, conditions = Path(settings.results).resolve(), settings.conditions()
    beside = path.with_suffix(".yaml")
    if not beside.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(beside, to_yaml(conditions))
    if changed := differences(read_mapping(beside), conditions):
        raise BadInput(f"{path}: its lines are of another study ({changed[0]}): give another file as `results`")
    return path


def missing(path: Path, arm: Arm, group: list[Text]) -> list[Text]:
    """The texts for which the arm has no line yet."""
    done = {row["document"] for row in kept_rows(path) if Arm(*(row[name] for name in Arm._fields)) == arm}
    return [text for text in group if text.name not in done]


def run(study: Study, path: Path, part: Part, arguments: argparse.Namespace) -> int:
    """Append what is missing of a part to the results; how many lines that is."""
    chosen = study.texts(part, study.settings.length)[: BATCH * arguments.documents]
    arms = [arm for arm in study.settings.plan(part) if not arguments.caches or arm.cache in arguments.caches]
    arms = [arm for arm in arms if not arguments.budgets or arm.budget in arguments.budgets]
    arms = [arm for arm in arms if not arguments.tasks or arm.task in arguments.tasks]
    found = 0
    for first in range(0, len(chosen), BATCH):
        for arm in arms:
            left = missing(path, arm, chosen[first : first + BATCH])
            found += len(left)
            for line in study.lines(arm, left) if left and not arguments.dry_run else ():
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(line, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--part", choices=("first", "final"), nargs="+", default=("final", "first"), help="only this")
    parser.add_argument("--caches", nargs="+", choices=CACHES, help="only these")
    parser.add_argument("--budgets", nargs="+", help="only these")
    parser.add_argument("--tasks", nargs="+", choices=("late", "recall"), help="only these")
    parser.add_argument("--documents", type=int, default=3, help="of each corpus, at most")
    parser.add_argument("--dry-run", action="store_true", help="say how many lines are missing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        settings = SparseStudy.load_study(arguments.config)
        path = open_results(settings)
        study = Study(settings)
        found = sum(run(study, path, part, arguments) for part in arguments.part)
    except BadInput as error:
        sys.exit(str(error))
    print(f"{found} lines {'are missing' if arguments.dry_run else 'added'}: {path}")


if __name__ == "__main__":
    main()
