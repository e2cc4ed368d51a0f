"""The tutorial: its commands, in its order, in one folder, with small budgets."""

import json
import random
import re
import shlex
import shutil
from pathlib import Path

from tests.command import l2m
from tests.fences import REPOSITORY, blocks

SMALL = {
    "search": [
        "recipe={length: 64, tokens: 4096, batch_tokens: 64, windows: 16, rungs: [0.5]}",
        "search.trials=1",
        "search.known_designs=false",
        "finalists={top: 1, seeds: 2, tokens: 4096, baselines: []}",
        "demand={beta: 0.5}",
        "condition.length=1024",
        "space.parameters=120000",
        "workers=1",
    ],
    "train": ["tokens=4096", "length=64", "batch_tokens=64", "windows=16"],
}


def write_texts(folder: Path) -> None:
    """160 files of 3 kB, no two alike."""
    folder.mkdir()
    rng = random.Random(0)
    for index in range(160):
        words = ["".join(rng.choices("abcdefgh", k=4)) for _ in range(60)]
        (folder / f"{index:03d}.txt").write_text(" ".join(rng.choices(words, k=600)))


def test_the_tutorial_leads_from_a_folder_of_text_to_a_model_that_generates(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "search_spaces", tmp_path / "search_spaces")
    write_texts(tmp_path / "texts")
    page = [block for block in blocks("sh", "yaml") if block.place == "docs/tutorial.md"]
    (study,) = [block.text for block in page if block.language == "yaml"]
    (tmp_path / "mine.yaml").write_text(study.replace("bpe:2048", "bpe:300"))
    lines = [line for block in page if block.language == "sh" for line in block.text.splitlines()]
    verbs = []
    for line in lines:
        if not line.startswith("l2m "):
            continue
        words = shlex.split(line.replace("bpe:2048", "bpe:300").replace("--tokens 60", "--tokens 3"))[1:]
        verbs.append(words[0])
        small = [word for setting in SMALL.get(words[0], []) for word in ("--set", setting)]
        more = (
            ["--longest", "256", "--windows", "16", "--replicates", "100", "--prime", "1024"]
            if words[0] == "estimate"
            else []
        )
        done = l2m(*words, *small, *more, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr, done.stdout)
    assert verbs == ["estimate", "search", "search", "train", "export", "generate"]
    assert (tmp_path / "demand.html").exists()
    assert (tmp_path / "reports" / "mine" / "index.html").exists()
    assert json.loads((tmp_path / "mymodel" / "config.json").read_text())["vocab_size"] == 300
    assert re.search(r"bytes|KiB", done.stdout + done.stderr)
