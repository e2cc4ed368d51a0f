"""SmolLM2-135M with caches of few slots, nothing trained but the rules: what each rule loses to the full cache.

Run: python benchmarks/sparse_kv.py [first|final] [--keep runs/books] [--novels runs/novels]. Windows of 4,096 tokens,
late loss (their second half), on chapters of novels, standard library modules and documentation. Every cache of a
budget holds equally many slots a kv head on average: the own and the previous chunk, and B(t) old tokens. Each document
and arm appends a line to reports/sparse-kv/adopted.jsonl; a line that is there is not run again. All arms read one text
of each corpus, then the next. `final` judges texts that decided nothing. About 30 seconds a document and arm on one
core; fitting the rules takes five minutes, once.
"""

import argparse
import json
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sparse_kv_oracle import Oracle, future_attention
from sparse_kv_texts import CORPORA, Text, smollm2, texts
from surprise import kept_rows
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.architecture.thinning import Thinning
from l2m_design.corpus.facts import with_facts
from l2m_design.corpus.tokenizers import HuggingFaceTokenizer
from l2m_design.information.scores.huggingface import load_model
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.competing import Allocation
from l2m_design.model.rules import ExpectedAttention, HeadWindows, HeavyHitters, KeyNorm, LastAttention, Rule, Window
from l2m_design.model.thinned import BorrowedModel
from l2m_design.training.caches import PIECE, Reader, repeats
from l2m_design.training.observed import observe
from l2m_design.training.rules_fit import fit_expected, fit_head_windows
from l2m_design.training.use_fit import KEPT, regress

RESULTS = Path(__file__).parents[1] / "reports" / "sparse-kv" / "adopted.jsonl"
LENGTH, FIT_LENGTH, CHUNK, SINKS, BATCH = 4096, 2048, 32, 4, 3
FIT_WINDOWS = 6
CPU = torch.device("cpu")
REPEAT = (2, 512)  # tokens of context by which a token is known again, and how far back
SHARES = {"all": 2.0, "1/2": 0.5, "1/4": 0.25, "1/8": 0.125, "1/16": 0.0625}
POWERS = {"t^0.5": 0.5, "t^0.67": 0.67, "t^0.8": 0.8}  # equal to 1/8 at the end of the window
USE = ("use/model", "use/layer", "use/head")
RIVALS = ("h2o", "tova", "expected", "key norm", "head windows", "streaming-llm")


class Arm(NamedTuple):
    """One cache on windows of `length` tokens; `task` is late loss or recall."""

    cache: str
    budget: str = "1/8"
    length: int = LENGTH
    task: str = "late"


def plan() -> list[Arm]:
    """Every arm, what matters most first."""
    arms = [Arm("full"), Arm("window"), *map(Arm, USE), *map(Arm, RIVALS), Arm("oracle"), Arm("full", task="recall")]
    recalling = ("window", "use/model", "h2o")
    arms += [Arm(cache, budget, task="recall") for budget in ("1/8", "1/16") for cache in recalling]
    arms += [Arm("use/model", "all", task="recall")]  # a control: what the full cache tells
    arms += [Arm(cache, budget, task="recall") for budget in ("1/2", "1/4") for cache in recalling[:2]]
    arms += [Arm(cache, budget) for budget in ("1/16", "1/4", *POWERS) for cache in ("use/model", "window")]
    arms += [Arm(cache, "1/8", 2048) for cache in ("full", "window", "use/model", "h2o")]
    return arms


def budget_of(arm: Arm) -> GlobalBudget:
    """Slots in all are the share of the window, or grow to an eighth of it."""
    local = 2 * CHUNK
    if arm.budget in POWERS:
        exponent = POWERS[arm.budget]
        keep = (SHARES["1/8"] * arm.length - local) / arm.length**exponent
        return GlobalBudget(CHUNK, "power", exponent, keep, sinks=SINKS)
    return GlobalBudget(CHUNK, "fixed", window=round(SHARES[arm.budget] * arm.length) - local, sinks=SINKS)


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

    def __init__(self, keep: Path, novels: Path) -> None:
        source = smollm2(keep)
        self.model, self.novels = load_model(str(source), CPU), novels
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        tokenizer = HuggingFaceTokenizer(str(source))
        self.encode = lambda text: tokenizer.encode(text).tolist()
        self.path = keep / "sparse_kv.safetensors"

    @cached_property
    def fitted(self) -> dict[str, Tensor]:
        """Parameters of the rules that are fitted, `rule.name`."""
        if not self.path.exists():
            adopted = AdoptedModel(self.model, GlobalBudget(CHUNK, "fixed", window=LENGTH, sinks=SINKS))
            windows = [text.tokens for text in texts("fit", FIT_LENGTH, self.encode, self.novels)[:FIT_WINDOWS]]
            rng, found, began = np.random.default_rng([0, 3]), [], time.perf_counter()
            for window in windows:
                found.append(observe(adopted, window[None], KEPT, rng))
                print(f"observed a window: {time.perf_counter() - began:.0f} s", flush=True)
            regress(adopted.use, found, CHUNK)
            rules = {"use": adopted.use, "head windows": fit_head_windows(adopted.use, found)}
            rules["expected"] = fit_expected(adopted, windows, LENGTH)
            print(f"fitted: {time.perf_counter() - began:.0f} s", flush=True)
            states = {rule: each.state_dict() for rule, each in rules.items()}
            save_file({f"{rule}.{k}": v.contiguous() for rule, z in states.items() for k, v in z.items()}, self.path)
        return load_file(self.path)

    def reader(self, arm: Arm, tokens: Tensor) -> Reader:
        """What reads the texts [b t] of an arm; the oracle knows them."""
        if arm.cache == "full":
            return Whole(self.model)
        budget = budget_of(arm)
        if arm.cache == "streaming-llm":
            fields = {"choose": "recency", "slots": budget.window + 2 * CHUNK, "chunk": CHUNK, "sinks": SINKS}
            self.model.set_attn_implementation("sdpa")
            return BorrowedModel(self.model, Thinning.parse(fields | {"positions": "cache"}, "streaming-llm"))
        if arm.cache in USE:
            adopted = AdoptedModel(self.model, budget, arm.cache.split("/")[1])  # type: ignore[arg-type]
            adopted.use.load_state_dict(self._state("use"))
            return adopted
        allocate: Allocation = "model" if arm.cache in ("head windows", "oracle") else "head"
        if arm.cache == "oracle":
            mass = future_attention(self.model, tokens, CHUNK)
            return AdoptedModel(self.model, budget, allocate, Oracle(mass, self._state("use")["ln_worth"]))
        return AdoptedModel(self.model, budget, allocate, self._rival(arm.cache, budget))

    def _state(self, rule: str) -> dict[str, Tensor]:
        own = [name for name in self.fitted if name.startswith(f"{rule}.")]
        return {name.removeprefix(f"{rule}."): self.fitted[name] for name in own}

    def _rival(self, name: str, budget: GlobalBudget) -> Rule:
        if name == "expected":
            return ExpectedAttention.of_state(self._state(name))
        if name == "head windows":
            state = self._state(name)
            return HeadWindows(state["ln_ages"].exp(), state["ln_mass"])
        simple = {"window": Window, "tova": LastAttention, "key norm": KeyNorm}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("first", "final"))
    parser.add_argument("--keep", type=Path, default=Path("runs/books"))
    parser.add_argument("--novels", type=Path, default=Path("runs/novels"))
    parser.add_argument("--caches", nargs="+", help="only these")
    parser.add_argument("--budgets", nargs="+", help="only these, and only late loss over whole windows")
    parser.add_argument("--documents", type=int, default=3, help="of each corpus")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(arguments.keep, arguments.novels)
    judged_texts = texts(arguments.part, LENGTH, study.encode, arguments.novels)[: len(CORPORA) * arguments.documents]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    arms = [arm for arm in plan() if not arguments.caches or arm.cache in arguments.caches]
    if arguments.budgets:
        arms = [arm for arm in arms if arm[2:] == (LENGTH, "late") and arm.budget in arguments.budgets]
    for first in range(0, len(judged_texts), BATCH):
        for arm in arms:
            done = {row["document"] for row in kept_rows(RESULTS) if Arm(*(row[name] for name in Arm._fields)) == arm}
            left = [text for text in judged_texts[first : first + BATCH] if text.name not in done]
            for line in study.lines(arm, left) if left else ():
                with RESULTS.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(line, flush=True)


if __name__ == "__main__":
    main()
