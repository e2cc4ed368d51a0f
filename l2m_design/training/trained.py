"""One training run on a named corpus, and its folder."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.corpus.text import keep_tokenizer
from l2m_design.errors import BadInput
from l2m_design.model import LanguageModel
from l2m_design.model.backends import pick_device
from l2m_design.model.weights import read_notes, save_weights
from l2m_design.settings import Json, to_json, write_atomically
from l2m_design.training import parallel, run
from l2m_design.training.checkpoint import identity
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import RESULT, WEIGHTS, Result, context_gains, effective_context

CHECKPOINT = "checkpoint.safetensors"
ONE_AT_A_TIME = threading.Lock()  # torch has one source of random numbers for all threads


@dataclass(frozen=True, repr=False)
class Trained:
    """A trained model, its result, corpus and recipe."""

    model: LanguageModel
    result: Result
    corpus: Corpus
    recipe: Recipe

    def __repr__(self) -> str:
        late = self.result.late_loss
        return f"<Trained {self.model.architecture.picture} on {self.corpus.name}: late loss {late:.4f} nats per token>"

    def plain(self) -> Json:
        """Return the result with the gain from far context, as JSON."""
        gains = context_gains(self.result)
        return self.result.plain() | {
            "context_gain": {str(c): gain.plain() for c, gain in gains.items()},
            "effective_context": effective_context(gains) if gains else None,
        }

    def save(self, folder: str | Path) -> list[str]:
        """Save architecture, weights, result and the tokenizer of the text, for `export` to read. Return the paths."""
        folder = Path(folder)
        self.model.architecture.save(folder / "architecture.yaml")
        save_weights(self.model, folder / WEIGHTS)
        result = self.result.plain() | {"recipe": self.recipe.plain(), "corpus": self.corpus.name}
        write_atomically(folder / RESULT, to_json(result))
        own = [str(folder / name) for name in ("architecture.yaml", WEIGHTS, RESULT)]
        return own + [str(path) for path in keep_tokenizer(self.corpus, folder)]


@dataclass(frozen=True)
class Training:
    """What is to be trained, found able to be. Raises BadInput.

    out: the folder that will hold it, and a checkpoint on the way. name: how the architecture was named. processes: how
    many share each batch, with a GPU each where GPUs compute. spec: name and tokenizer of the corpus, by which each of
    several processes opens it.
    """

    architecture: Architecture
    corpus: Corpus
    recipe: Recipe
    out: Path | None = None
    name: str = "architecture"
    processes: int = 1
    spec: tuple[str, str | None] | None = None

    def __post_init__(self) -> None:
        run.check_vocabulary(self.architecture, self.corpus, self.name)
        self.architecture.check_context(self.recipe.length, self.name)
        run.check_shares(self.recipe, self.processes)
        if self.processes > 1 and self.spec is None:
            raise BadInput(
                "processes: several processes need the name of the corpus instead of a Corpus, since each opens it"
            )
        if self.out:
            self._check_folder(self.out)

    def _check_folder(self, out: Path) -> None:
        """Raises BadInput where the folder holds more than an unfinished run of just this."""
        if out.exists() and not out.is_dir():
            raise BadInput(f"{out}: must be a folder, found a file")
        there = [path.name for path in out.iterdir()] if out.is_dir() else []
        if out.exists() and there not in ([], [CHECKPOINT]):
            raise BadInput(f"{out}: already contains files; give another `out`")
        if there and read_notes(out / CHECKPOINT).get("identity") != self.identity:
            raise BadInput(
                f"{out}: contains an unfinished run of another architecture, corpus or recipe; give another `out`"
            )

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that change with anything that decides the run."""
        return identity(self.architecture, self.corpus, self.recipe)

    @property
    def begun(self) -> bool:
        """Does an unfinished run lie in the folder?"""
        return self.out is not None and (self.out / CHECKPOINT).exists()

    @property
    def kept_steps(self) -> int:
        """Steps of an unfinished run that its checkpoint holds."""
        notes = read_notes(self.out / CHECKPOINT) if self.out else {}
        return int(json.loads(notes.get("notes", "{}")).get("step", 0))

    def plan(self) -> dict[str, int]:
        """What would run, in numbers."""
        recipe = self.recipe
        return {
            "parameters": self.architecture.parameters,
            "steps": recipe.steps,
            "tokens": recipe.spent,
            "training_tokens_in_corpus": self.corpus.documents("train").size,
            "training_flops": 3 * self.architecture.flops(recipe.length) * recipe.steps * recipe.batch,
        }

    def run(self, device: str, on_step: Callable[[int, int], None] = lambda done, total: None) -> Trained:
        """Train to the end, from the checkpoint on where there is one; raises as training.run.train does, and
        WorkFailed when one of several processes fails.
        """
        chosen, checkpoint = pick_device(device), self.out / CHECKPOINT if self.out else None
        parallel.check_processes(self.processes, chosen)
        if self.out:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"{self.out}: cannot be created ({error.strerror})") from None
        with ONE_AT_A_TIME:
            if self.processes == 1:
                model, result = run.train(
                    self.architecture, self.corpus, self.recipe, chosen, on_step=on_step, checkpoint=checkpoint
                )
            else:
                model, result = self._together(chosen, on_step, checkpoint)
        return Trained(model, result, self.corpus, self.recipe)

    def _together(
        self, device: torch.device, on_step: Callable[[int, int], None], checkpoint: Path | None
    ) -> tuple[LanguageModel, Result]:
        assert self.spec is not None
        corpus, tokenizer = self.spec
        before = torch.get_num_threads()
        threads = max(1, before // self.processes)
        plan = parallel.Plan(self.architecture, corpus, self.recipe, str(device), threads, checkpoint, tokenizer)
        try:
            return parallel.train_together(self.processes, plan, on_step=on_step)
        finally:
            torch.set_num_threads(before)
