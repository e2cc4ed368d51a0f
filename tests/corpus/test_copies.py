"""Copies: equal and nearly equal documents are found, share a split, and count once; boilerplate joins nothing."""

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from l2m_design.corpus import SPLITS, Corpus, open_corpus
from l2m_design.corpus.base import split_of
from l2m_design.corpus.copies import _mixed, _words, find_copies
from l2m_design.corpus.text import Files, TextCorpus
from l2m_design.information import Measurement, measure
from l2m_design.information.settings import MeasurementSettings

LETTERS = "abcdefghijklmnopqrstuvwxyzé"
WORDS = ["".join(random.Random(i).choices(LETTERS, k=2 + i % 8)) for i in range(3000)]


def text(seed: int | str, words: int = 300) -> str:
    return " ".join(random.Random(f"text {seed}").choices(WORDS, k=words))


def shouted(original: str) -> str:
    """In capitals, but for letters beyond ASCII."""
    return original.upper().replace("É", "é")


def edited(original: str, one_in: int) -> str:
    words = original.split()
    words[one_in // 2 :: one_in] = ["changed"] * len(words[one_in // 2 :: one_in])
    return " ".join(words)


def records(path: Path, texts: list[str]) -> Corpus:
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return open_corpus(str(path))


def splits(corpus: Corpus) -> dict[str, str]:
    """Split by document's name."""
    name_of = dict(zip(corpus.all_documents.spans[:, 0].tolist(), corpus._stored[1], strict=True))
    return {name_of[start]: split for split in SPLITS for start in corpus.documents(split).spans[:, 0].tolist()}


def families(corpus: Corpus) -> int:
    documents = corpus.all_documents
    return len(documents) if documents.families is None else len(np.unique(documents.families))


def found(texts: list[str], alone: bool = True) -> list[int]:
    """For each text the first one like it."""
    data = [t.encode() for t in texts]
    tokens, ends = np.frombuffer(b"".join(data), np.uint8), np.cumsum([len(d) for d in data])
    part = np.full(len(data), not alone)
    return find_copies(tokens, ends, 256, text=True, near=True, part=part).like.tolist()


def test_no_copy_of_a_training_document_is_held_out(tmp_path: Path) -> None:
    rows = [text(i) for i in range(100)] * 2
    random.Random(0).shuffle(rows)
    corpus = records(tmp_path / "twice.jsonl", rows)
    held = {split: {bytes(d) for d in corpus.documents(split)} for split in SPLITS}
    assert all(held.values())
    assert not held["train"] & held["test"]
    assert not held["train"] & held["validation"]
    assert corpus.copied == {"equal": 100, "near": 0}
    assert [note for note in corpus.notes if "100 of 200 documents are copies or near copies of earlier ones" in note]


def test_white_space_and_letter_case_make_no_difference(tmp_path: Path) -> None:
    plain = [text(i) for i in range(60)]
    changed = [shouted(t).replace(" ", " \n ") + "\n" for t in plain]
    corpus = records(tmp_path / "x.jsonl", plain + changed)
    assert corpus.copied == {"equal": 60, "near": 0}
    split = list(splits(corpus).items())
    assert dict(split)["x.jsonl:1"] == dict(split)["x.jsonl:61"]
    assert families(corpus) == 60


def test_near_copies_share_a_split_and_others_keep_theirs(tmp_path: Path) -> None:
    corpus = records(tmp_path / "x.jsonl", [text(i) for i in range(100)] + [edited(text(i), 50) for i in range(40)])
    assert corpus.copied == {"equal": 0, "near": 40}
    where = splits(corpus)
    for number in range(1, 101):
        assert where[f"x.jsonl:{number}"] == SPLITS[split_of(f"x.jsonl:{number}")]
    assert all(where[f"x.jsonl:{number}"] == where[f"x.jsonl:{100 + number}"] for number in range(1, 41))


def test_what_is_found_is_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(0)
    texts = [text(i, 200) for i in range(40)]
    texts += [
        edited(rng.choice(texts), one_in) for one_in in (8, 10, 15, 20, 25, 40, 50, 60, 80, 100) for _ in range(6)
    ]

    def shingles(t: str) -> set[tuple[str, ...]]:
        words = t.split()
        return set(zip(*(words[i:] for i in range(5)), strict=False))

    sets, alike = [shingles(t) for t in texts], found(texts)
    for i, mine in enumerate(sets):
        for j, other in enumerate(sets[:i]):
            jaccard = len(mine & other) / len(mine | other)
            if jaccard >= 0.85:
                assert alike[i] == alike[j]
        leader = max(len(mine & o) / len(mine | o) for j, o in enumerate(sets) if j != i)
        if leader < 0.55:
            assert alike.count(alike[i]) == 1


def test_a_licence_that_all_share_joins_nothing() -> None:
    licence = text("licence", 1500)
    assert found([f"{licence}\n{text(i, 700)}" for i in range(100)]) == list(range(100))


def test_a_template_filled_with_text_of_its_own_joins_nothing() -> None:
    template = [text(f"part {k}", 40) for k in range(5)]
    filled = [" ".join(part + " " + text(f"{i} {k}", 20) for k, part in enumerate(template)) for i in range(100)]
    assert found(filled) == list(range(100))


def test_short_documents_are_copies_only_if_equal_and_not_in_a_larger_family() -> None:
    short = [text(0, 30), edited(text(0, 30), 30), text(0, 30)]
    assert found(short) == [0, 1, 0]
    assert found(short, alone=False) == [0, 1, 2]
    long = [text(0), text(0)]
    assert found(long, alone=False) == [0, 0]


def test_documents_that_repeat_a_few_phrases_are_not_alike() -> None:
    assert found([f"{text('refrain', 30)} " * 20 + f"verse {i}" for i in range(50)]) == list(range(50))


def test_empty_modules_do_not_join_packages(tmp_path: Path) -> None:
    files = []
    for package in range(30):
        for name, content in (("__init__", "# nothing here\n"), ("a", text(f"{package}a")), ("b", text(f"{package}b"))):
            path = tmp_path / f"{package}-{name}"
            path.write_text(content)
            files.append((path, f"package{package}/{name}.py"))
    corpus = TextCorpus("library", Files(files, packages=True))
    assert families(corpus) == 30
    assert corpus.copied == {"equal": 0, "near": 0}
    files[4][0].write_text(text("0a"))  # package1/a.py, as package0/a.py: now the two packages go together
    corpus = TextCorpus("library", Files(files, packages=True))
    assert families(corpus) == 29
    where = splits(corpus)
    assert where["package1/b.py"] == where["package0/b.py"] == SPLITS[split_of("package0")]


def test_the_standard_library_is_split_by_its_packages_alone() -> None:
    corpus = open_corpus("stdlib")
    assert splits(corpus) == {name: SPLITS[split_of(corpus.family(name), corpus.shares)] for name in corpus._stored[1]}


def test_long_documents_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text(i, 4000) for i in range(4)] + [text(9, 100)] + [shouted(text(2, 4000)), edited(text(3, 4000), 60)]
    whole = found(texts)
    assert whole == [0, 1, 2, 3, 4, 2, 3]
    monkeypatch.setattr("l2m_design.corpus.copies.PIECE", 5000)
    assert found(texts) == whole


def test_words_are_hashed_alike_wherever_they_stand() -> None:
    said = "Größe, größe: 北京北 under_score it's\u00a0X1 größe"
    read = np.frombuffer(said.encode(), np.uint8)
    words, counts = _words(read, np.array([0, len(read)]))
    names = ["größe", "größe", "北", "京", "北", "under", "score", "it", "s\u00a0x1", "größe"]
    assert counts.tolist() == [len(names)]
    for left, right in pairwise(range(len(names))):
        assert (words[left] == words[right]) == (names[left] == names[right])
    assert len(set(words.tolist())) == len(set(names))
    assert len(np.unique(_mixed(np.arange(100_000)))) == 100_000


def test_splits_are_the_same_in_all_tokens(tmp_path: Path) -> None:
    texts = [text(i) for i in range(60)] + [shouted(edited(text(i), 50)) for i in range(30)] + [" \n"]
    corpus = records(tmp_path / "x.jsonl", texts)
    pairs = open_corpus(f"{tmp_path / 'x.jsonl'}:tokenizer=bpe:300")
    assert corpus.copied == pairs.copied == {"equal": 0, "near": 30}
    assert splits(corpus) == splits(pairs)


def test_copies_are_sought_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text(i) for i in range(40)] * 2
    before = records(tmp_path / "x.jsonl", texts)
    assert before.copied["equal"] == 40

    def fail(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr("l2m_design.corpus.base.find_copies", fail)
    assert splits(open_corpus(str(tmp_path / "x.jsonl"))) == splits(before)


def test_where_all_are_copies_of_one_it_is_said(tmp_path: Path) -> None:
    corpus = records(tmp_path / "x.jsonl", [text(0)] * 30)
    assert [corpus.documents(split).size > 0 for split in SPLITS] == [True] * 3
    assert (
        corpus.notes[0] == "few documents that are not copies: each is divided 8:1:1 into training, validation and test"
    )
    assert len(corpus.all_documents.once()) == 1


def test_a_large_family_of_copies_is_for_training(tmp_path: Path) -> None:
    number = next(n for n in range(2, 100) if split_of(f"x.jsonl:{n}") == 2)
    others = [text(i) for i in range(150)]
    corpus = records(tmp_path / "x.jsonl", [*others[: number - 1], text("held out"), *others[number - 1 :]])
    assert splits(corpus)[f"x.jsonl:{number}"] == "test"
    many = records(tmp_path / "x.jsonl", [*others[: number - 1], *[text("held out")] * 40, *others[number - 1 :]])
    where = splits(many)
    assert {where[f"x.jsonl:{number + i}"] for i in range(40)} == {"train"}
    assert set(where.values()) == set(SPLITS)


def test_token_files_arrays_and_sequences_have_copies_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 1000, (60, 300))
    near = rows[:20].copy()
    near[:, 150] = 7
    np.save(tmp_path / "tokens.npy", np.concatenate([rows, rows[:10], near]))
    corpus = open_corpus(f"{tmp_path / 'tokens.npy'}:vocabulary=1000")
    assert corpus.copied == {"equal": 10, "near": 20}
    values = rng.standard_normal((60, 300))
    np.save(tmp_path / "values.npy", np.concatenate([values, values[:10]]))
    corpus = open_corpus(str(tmp_path / "values.npy"))
    assert corpus.copied == {"equal": 10, "near": 0}
    assert len(corpus.value_documents(None).once()) == 60  # type: ignore[attr-defined]
    letters = ["".join("ACGT"[i] for i in row % 4) for row in rows]
    letters += [letters[0], letters[1][:150] + "A" + letters[1][151:]]
    (tmp_path / "x.fa").write_text("".join(f">r{i}\n{row}\n" for i, row in enumerate(letters)))
    assert open_corpus(str(tmp_path / "x.fa")).copied in ({"equal": 1, "near": 1}, {"equal": 2, "near": 0})


@pytest.mark.parametrize("spec", ["markov:stay=0.999,length=32,documents=200", "mqar:documents=40"])
def test_a_source_whose_law_is_known_has_none(spec: str) -> None:
    assert open_corpus(spec).copied == {"equal": 0, "near": 0}


def measured(path: Path, texts: list[str]) -> Measurement:
    asked = MeasurementSettings(estimator="compression", shortest=16, longest=256, windows=32, replicates=200)
    return measure(records(path, texts), asked)


@pytest.mark.integration
def test_an_interval_counts_copies_once(tmp_path: Path) -> None:
    texts = [text(i) for i in range(24)]
    once, twice = (measured(tmp_path / f"{times}.jsonl", texts * times) for times in (1, 2))
    assert [e.plain() for e in twice.interval] == [e.plain() for e in once.interval]
    assert twice.documents == once.documents
    assert twice.plain()["copies"] == {"equal": 24, "near": 0}


@pytest.mark.integration
def test_near_copies_are_one_row_of_the_bootstrap(tmp_path: Path) -> None:
    texts = [text(i) for i in range(24)]
    found = measured(tmp_path / "x.jsonl", texts + [edited(t, 60) for t in texts])
    assert found.curve.unit == "families of documents"
    assert found.documents > len(found.curve.nats)
    assert found.plain()["copies"] == {"equal": 0, "near": 24}


def test_recordings_are_equal_by_their_values_not_by_what_they_are_quantised_to(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 256)) * np.where(np.arange(60) % 2, 1.0, 1e-9)[:, None]  # half of them all one token
    rows[40] = rows[7]
    np.save(tmp_path / "x.npy", rows)
    corpus = open_corpus(str(tmp_path / "x.npy"))
    assert corpus.copied == {"equal": 1, "near": 0}
    assert corpus.all_documents.repeats is not None
    assert np.flatnonzero(corpus.all_documents.repeats).tolist() == [40]
