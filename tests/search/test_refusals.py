"""What a study refuses before any work, and what it leaves as it was."""

import re

import pytest

from l2m_design.errors import BadInput


def test_the_same_name_with_other_settings_is_refused(opened, trained) -> None:
    opened().run()
    with pytest.raises(BadInput, match=r"other settings \(study\.recipe\.tokens: 2048 -> 4096\)"):
        opened("recipe.tokens=4096").run()
    search = opened("recipe.tokens=4096")
    search.run(fresh=True)
    assert (search.folder.path.parent / "tiny.1" / "identity.json").exists()


def test_a_folder_that_is_no_study_is_left_alone(opened, trained) -> None:
    search = opened()
    search.folder.path.mkdir(parents=True)
    (search.folder.path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="contains files that do not belong to a study"):
        search.run()
    assert (search.folder.path / "thesis.tex").exists()


def test_resume_needs_a_study(opened) -> None:
    with pytest.raises(BadInput, match="contains no study"):
        opened().run(resume=True)


def test_two_searches_of_one_study_exclude_each_other(opened, trained) -> None:
    one, two = opened(), opened()
    with one.folder.alone(), pytest.raises(BadInput, match="another process"):
        two.run()


@pytest.mark.parametrize(
    ("override", "fresh", "resume"),
    [("demand.prefactor=1e9", False, False), ("choice.reference=nobody", False, False), ("name=tiny", False, True)],
)
def test_a_refused_study_leaves_nothing(opened, trained, study, override: str, fresh: bool, resume: bool) -> None:
    before = sorted(study.parent.rglob("*"))
    with pytest.raises(BadInput):
        opened(override).run(fresh, resume)
    assert sorted(study.parent.rglob("*")) == before


def test_a_space_without_a_feasible_drawing_is_refused_with_the_nearest_change(opened, trained) -> None:
    with pytest.raises(BadInput, match=r"no architecture of this space meets the condition .* smallest change"):
        opened("demand.prefactor=1e9", "search.trials=6").run()
    assert not trained


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("demand.beta=1.5", "demand.beta"),
        ("demand.beta=0", "demand.beta"),
        ("demand={}", "give either measure"),
        ("search.trails=3", r"search: unknown key 'trails'; did you mean 'trials'"),
        ("corpus=nowhere", "no such corpus"),
        ("space=none.yaml", "no file"),
        ("recipe.length=512", "must be at least length"),
        ("recipe={length: 512, batch_tokens: 512, tokens: 512}", "no document is as long as the required 513 tokens"),
        ("space.parameters=100", "is too small for"),
        ("name=../evil", "name"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_any_work(opened, override: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        opened(override)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("device=gpu9", "device gpu9: cannot be used here"),
        ("recipe.compile=true", "for GPUs only, the device is cpu"),
        ("search.kernels=[nonsense]", "search.kernels: nonsense"),
    ],
)
def test_a_machine_that_cannot_compute_as_asked_is_refused_before_any_work(opened, trained, override, words) -> None:
    search = opened("device=cpu", override)
    with pytest.raises(BadInput, match=words):
        search.run()
    assert trained == []
    said = search.rehearse()
    assert re.search(f"^this study cannot run on this machine: .*{words}", said[0])


def test_a_refused_study_gives_its_name_free_again(opened, trained) -> None:
    with pytest.raises(BadInput, match="no architecture of this space meets"):
        opened("space.kinds={mamba2: {kind: mamba2, d_state: 8, head_dim: 8}}").run()
    assert opened().run()["trials"]["complete"] > 0


def test_fresh_moves_nothing_aside_for_a_storage_that_cannot_be_opened(opened, trained) -> None:
    search = opened()
    search.run()
    with pytest.raises(BadInput, match="cannot be opened"):
        opened("storage=sqlite:////nowhere/at/all.db").run(fresh=True)
    assert (search.folder.path / "optuna.db").exists()
    assert not search.folder.path.with_name("tiny.1").exists()


def test_a_study_whose_database_is_gone_is_not_begun_again_by_resume(opened, trained) -> None:
    search = opened()
    search.run()
    (search.folder.path / "optuna.db").unlink()
    with pytest.raises(BadInput, match=r"optuna\.db, the database of trials, is missing"):
        opened().run(resume=True)
