"""Training: the same data for every candidate, losses that mean what they say, failures named."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.errors import BadInput
from l2m_design.information.scores.model import ModelScorer
from l2m_design.model import LanguageModel
from l2m_design.model.eviction import Eviction
from l2m_design.model.lessons import lesson
from l2m_design.training.batches import held_out_windows, training_batches
from l2m_design.training.recipe import Recipe
from l2m_design.training.reference import train_reference
from l2m_design.training.result import Losses, Result, paired_difference
from l2m_design.training.run import Stopped, train

CPU = torch.device("cpu")
SPEC = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
SMALL = Recipe(length=64, tokens=64 * 64, batch_tokens=256, windows=16, rungs=(0.5,))


def drawing(kind: str = "mamba2", vocabulary: int = 10) -> Architecture:
    layer = {
        "mamba2": {"kind": "mamba2", "d_state": 8, "head_dim": 8},
        "attention": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
    }[kind]
    return Architecture.parse({"vocabulary": vocabulary, "width": 16, "layers": [layer] * 2}, "drawing")


def test_every_candidate_reads_the_same_windows_in_the_same_order() -> None:
    corpus = open_corpus(SPEC)
    one, two = (list(training_batches(corpus, SMALL)) for _ in range(2))
    assert len(one) == SMALL.steps == 16
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = list(training_batches(corpus, SMALL.model_copy(update={"seed": 1})))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_evaluation_windows_do_not_move_with_the_seed() -> None:
    corpus = open_corpus(SPEC)
    one, two = (held_out_windows(corpus, "validation", 64, 16) for _ in range(2))
    np.testing.assert_array_equal(one.tokens(), two.tokens())


@pytest.mark.parametrize("kind", ["mamba2", "attention"])
def test_a_run_learns_and_repeats_itself_on_a_cpu(kind: str) -> None:
    corpus = open_corpus(SPEC)
    results = [train(drawing(kind), corpus, SMALL, CPU)[1] for _ in range(2)]
    assert results[0].late_loss == results[1].late_loss
    assert results[0].late_loss < 0.8 * np.log(10)
    assert results[0].tokens == 64 * 64
    assert len(results[0].loss_by_position) == 65


def test_the_curve_is_told_while_it_is_made() -> None:
    told: list[tuple[int, float]] = []
    recipe = SMALL.model_copy(update={"tokens": 64 * 288})  # more steps than the curve has points
    _, found = train(drawing(), open_corpus(SPEC), recipe, CPU, on_loss=lambda *point: told.append(point))
    assert [tokens for tokens, _ in told] == [tokens for tokens, _ in found.curve]
    np.testing.assert_allclose([nats for _, nats in told], [nats for _, nats in found.curve], rtol=1e-6)
    assert len(told) == 64 < recipe.steps


def test_rungs_come_in_order_and_can_stop_a_run() -> None:
    seen = []
    recipe = SMALL.model_copy(update={"rungs": (0.25, 0.5, 0.75)})

    def stop_at_the_second(rung) -> bool:
        seen.append(rung.tokens)
        return rung.step < 8

    with pytest.raises(Stopped):
        train(drawing(), open_corpus(SPEC), recipe, CPU, stop_at_the_second)
    assert seen == [1024, 2048]


def test_a_result_survives_plain_data() -> None:
    _, result = train(drawing(), open_corpus(SPEC), SMALL, CPU)
    again = Result.of_plain(result.plain())
    assert again.plain() == result.plain()
    assert again.late_loss == pytest.approx(result.late_loss, abs=1e-5)


def test_a_loss_that_is_not_finite_fails_the_run() -> None:
    recipe = SMALL.model_copy(update={"learning_rate": 1.0, "warmup": 0.0, "clip": 1e9})
    corpus = open_corpus(SPEC)
    broken = drawing()
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch.nn.functional.cross_entropy", lambda *a, **k: torch.tensor(float("nan"), requires_grad=True)
        )
        with pytest.raises(FloatingPointError, match="not finite at step"):
            train(broken, corpus, recipe, CPU)


def test_a_drawing_with_too_small_a_vocabulary_is_bad_input() -> None:
    with pytest.raises(BadInput, match="vocabulary: 4, the corpus"):
        train(drawing(vocabulary=4), open_corpus(SPEC), SMALL, CPU)


def test_documents_too_short_for_the_length_are_bad_input() -> None:
    recipe = SMALL.model_copy(update={"length": 512, "batch_tokens": 512})
    with pytest.raises(BadInput, match="no document is as long as the required 513 tokens"):
        train(drawing(), open_corpus(SPEC), recipe, CPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_tokens": 64, "length": 128}, "must be at least length"),
        ({"tokens": 100}, "must be at least batch_tokens"),
        ({"rungs": [1.5]}, "between 0 and 1"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"token": 5}, "did you mean 'tokens'"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_bad_input(change: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Recipe.parse(change, "recipe")


def test_the_rate_warms_up_and_falls_to_its_final_share() -> None:
    recipe = Recipe(length=16, batch_tokens=16, tokens=1600, learning_rate=1e-2, warmup=0.1, final_share=0.1)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert max(rates) == pytest.approx(1e-2)
    assert np.argmax(rates) in (9, 10)
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-3, rel=0.01)


def test_captured_information_is_early_minus_late_loss() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,pairs=256,keys=64,documents=400")
    windows = held_out_windows(corpus, "train", 128, 4000)
    losses = Losses(corpus.bayes_nats(windows.tokens()), windows.document)
    assert losses.captured() == pytest.approx(corpus.information(64), rel=0.1)


def test_late_loss_is_that_of_the_second_half_every_document_counting_alike() -> None:
    nats = np.full((11, 5), 9.0)
    nats[:, 3:] = np.array([1.0, 3.0, *[4.0] * 9])[:, None]
    losses = Losses(nats, np.array([0, 0, *range(1, 10)]))
    assert losses.late().tolist() == [1.0, 3.0, *[4.0] * 9]
    assert losses.late_by_document().tolist() == [2.0, *[4.0] * 9]
    assert losses.late_loss == pytest.approx(3.8)


def test_few_documents_say_nothing_of_documents_so_their_windows_stand_for_themselves() -> None:
    rng = np.random.default_rng(0)
    losses = Losses(rng.normal(2.0, 1.0, (40, 5)), np.zeros(40, dtype=np.int64))
    assert losses.late_by_document().tolist() == losses.late().tolist()
    easier = Losses(losses.nats - 0.1, losses.document)
    difference = paired_difference(list(easier.late_by_document()), list(losses.late_by_document()))
    assert difference.value == pytest.approx(-0.1)


def test_a_loss_that_is_not_finite_at_the_end_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from l2m_design.training import run

    whole = run.evaluate

    def broken(*arguments: Any) -> Losses:
        found = whole(*arguments)
        return Losses(np.full_like(found.nats, np.nan), found.document)

    monkeypatch.setattr(run, "evaluate", broken)
    with pytest.raises(FloatingPointError, match="not finite at the end"):
        train(drawing(), open_corpus(SPEC), SMALL, CPU, checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


def test_paired_differences_do_not_see_what_documents_share() -> None:
    rng = np.random.default_rng(0)
    documents = rng.normal(2.0, 1.0, 50)
    difference = paired_difference(list(documents + 0.1), list(documents))
    assert difference.value == pytest.approx(0.1)
    assert difference.high - difference.low < 1e-9


def test_the_reference_model_scores_the_first_token_by_the_unigram_law() -> None:
    corpus = open_corpus(SPEC)
    scorer = train_reference(corpus, SMALL, CPU)
    assert isinstance(scorer, ModelScorer)
    tokens = held_out_windows(corpus, "test", 31, 8).tokens()
    nats = scorer.nats(tokens)
    assert nats.shape == tokens.shape
    np.testing.assert_allclose(nats[:, 0], unigram_nats(corpus.documents("train"), 10)[tokens[:, 0]])
    assert np.isfinite(nats).all()


def test_unigram_probabilities_sum_to_one(text_folder: Path) -> None:
    nats = unigram_nats(open_corpus(str(text_folder)).documents("train"), 256)
    assert np.exp(-nats).sum() == pytest.approx(1.0)
    assert np.isfinite(nats).all()


VALUE = {
    "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.5,
    "allocate": "global", "choose": "value",
}  # fmt: skip
USE = VALUE | {"allocate": "layer", "choose": "use"}


@pytest.mark.parametrize("batch_tokens", [64, 256])
def test_lessons_train_scores_on_the_way_and_leave_the_rest_alone(
    monkeypatch: pytest.MonkeyPatch, batch_tokens: int
) -> None:
    """One sequence of four: of each batch of four, of every fourth batch of one."""
    import l2m_design.training.step as step

    drawn = Architecture.parse({"vocabulary": 10, "width": 16, "layers": [VALUE]}, "drawing")
    recipe = SMALL.model_copy(update={"batch_tokens": batch_tokens, "rungs": ()})
    lessons = []

    def counted(model: Any, tokens: torch.Tensor) -> torch.Tensor:
        lessons.append(tokens.shape)
        return lesson(model, tokens)

    monkeypatch.setattr(step, "lesson", counted)
    taught, _ = train(drawn, open_corpus(SPEC), recipe, CPU)
    assert lessons == [(1, 65)] * (recipe.steps * recipe.batch // 4)
    monkeypatch.setattr(step, "lesson", lambda model, tokens: torch.zeros((), requires_grad=True))
    monkeypatch.setattr(Eviction, "worth", lambda self, keys, scores: torch.zeros(keys[:, :1, :, 0].shape))
    untaught, _ = train(drawn, open_corpus(SPEC), recipe, CPU)
    moved = {n for n, p in taught.named_parameters() if not torch.equal(p, untaught.get_parameter(n))}
    assert {n for n, _ in taught.named_parameters() if ".score." in n} <= moved


def test_use_is_taught_by_the_loss_while_the_choice_is_soft(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Architecture.parse({"vocabulary": 10, "width": 16, "layers": [USE]}, "drawing")
    recipe = SMALL.model_copy(update={"rungs": ()})
    seen: list[tuple[float | None, torch.Tensor]] = []
    loss = LanguageModel.mean_nats

    def noted(self: LanguageModel, tokens: torch.Tensor, softness: float | None) -> torch.Tensor:
        seen.append((softness, torch.cat([p.detach().flatten() for p in self.value_parameters])))
        return loss(self, tokens, softness)

    monkeypatch.setattr(LanguageModel, "mean_nats", noted)
    train(drawn, open_corpus(SPEC), recipe, CPU)
    hard = [number for number, (softness, _) in enumerate(seen) if softness is None]
    assert hard == list(range(hard[0], recipe.steps))
    assert abs(len(hard) / recipe.steps - 0.3) < 0.05
    assert not torch.equal(seen[0][1], seen[hard[0]][1])
    assert torch.equal(seen[hard[0]][1], seen[-1][1])


def test_memory_does_not_grow_with_steps() -> None:
    """In a process that keeps what it frees: one small piece a step, left in the way, costs a step's logits each."""
    code = """
import psutil, torch
from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train
corpus = open_corpus("santa-fe:beta=0.7,keys=2000,pairs=64,documents=200")
layer = {"kind": "attention", "heads": 1, "kv_heads": 1, "head_dim": 8}
drawing = Architecture.parse({"vocabulary": 2002, "width": 8, "layers": [layer]}, "drawn")
recipe = Recipe(length=127, tokens=127 * 16 * 60, batch_tokens=2048, windows=8, rungs=())
held = {}
def look(done, total):
    held[done] = psutil.Process().memory_info().rss
train(drawing, corpus, recipe, torch.device("cpu"), on_step=look)
print(held[60] - held[15])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    logits = 4 * 127 * 16 * 2002
    assert int(done.stdout) < 8 * logits
