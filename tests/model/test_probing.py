"""Probes apart: each candidate in a process of its own, with a limit, and what was found is cached."""

import contextlib
import fcntl
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.model import build, probes, probing, remembered
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.kernels import TORCH
from l2m_design.model.probed_sizes import Size, sizes_of
from l2m_design.model.probes import Apart, chosen, probe_all, probed, serving
from l2m_design.model.probing import Probe, probe_cases
from l2m_design.search.executors.kernels import FixedKernels
from tests.model.test_kernels import FLEX, GPU, stand_in


def apart(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, limit: float = 30.0) -> Apart:
    """FlexAttention for windows, probed by a Python that runs a script in its place."""
    python = folder / "python"
    python.write_text(f"#!{sys.executable}\nimport fcntl, os, sys, time\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(probes.sys, "executable", str(python))
    return Apart(FLEX, torch.device("cuda"), limit)


def test_a_candidate_is_probed_in_a_process_of_its_own() -> None:
    probe = Apart(FLEX, torch.device("cuda")).wait()
    assert (probe.name, probe.field, probe.dtype) == ("FlexAttention", "window", "bfloat16")
    assert probe.loads
    assert probe.used or torch.cuda.is_available() or probe.reason.startswith("fails: ")


def test_a_candidate_that_takes_too_long_costs_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever its process started ends with it, and so gives back the lock that both hold."""
    stage = Probe("FlexAttention", "window", "bfloat16", True, loads=True, reason="compiling")
    script = f"""
print({probing.MARK + json.dumps(stage.plain())!r}, flush=True)
held = open({str(tmp_path / "held")!r}, "w")
fcntl.flock(held, fcntl.LOCK_EX)
os.fork()
time.sleep(60)"""
    began = time.monotonic()
    probe = apart(monkeypatch, tmp_path, script, limit=1.5).wait()
    assert time.monotonic() - began < 10
    assert probe == replace(stage, reason="compiling: stopped after 2 s", stopped=True)
    with (tmp_path / "held").open() as held:
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.1)
    pytest.fail("what the process started still runs")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("os.kill(os.getpid(), 11)", "starting: the process crashed (signal 11)"),
        ("sys.exit('no device')", "starting: the process crashed (exit 1): no device"),
    ],
)
def test_a_crash_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str, words: str) -> None:
    probe = apart(monkeypatch, tmp_path, end).wait()
    assert (probe.reason, probe.wrong, probe.stopped) == (words, True, False)


class Once:
    """Stands for Apart: counts what is probed, and has one answer."""

    made: ClassVar[list[Candidate]] = []
    reason = ""

    def __init__(self, candidate: Candidate, device: torch.device, limit: float) -> None:
        self.candidate = candidate
        self.made.append(candidate)

    def wait(self) -> Probe:
        return replace(probing.unseen(self.candidate), loads=True, used=not self.reason, reason=self.reason)

    def stop(self) -> None:
        pass


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Once]:
    monkeypatch.setenv("L2M_CACHE", str(tmp_path))
    monkeypatch.setattr(probes, "Apart", Once)
    monkeypatch.setattr(Once, "made", [])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    return Once


def test_what_was_probed_is_not_probed_again_until_something_changes(
    counted: type[Once], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = probe_all([FLEX], GPU)
    assert probe_all([FLEX], GPU) == first
    assert len(counted.made) == 1
    probe_all([FLEX], GPU, fresh=True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another GPU")
    probe_all([FLEX], GPU)
    monkeypatch.setattr(remembered, "version", lambda name: "another version")
    probe_all([FLEX], GPU)
    probe_all([replace(FLEX, dtype=torch.float32)], GPU)
    assert len(counted.made) == 5


@pytest.mark.parametrize("kept", ["{broken", "[]", "{}"])
def test_a_broken_cache_is_written_anew(counted: type[Once], tmp_path: Path, kept: str) -> None:
    (tmp_path / "probes.json").write_text(kept)
    probe_all([FLEX], GPU)
    assert probe_all([FLEX], GPU)[0].used
    assert len(counted.made) == 1
    found = json.loads((tmp_path / "probes.json").read_text())
    (tmp_path / "probes.json").write_text(json.dumps({key: {"unknown": 1} for key in found}))
    assert probe_all([FLEX], GPU)[0].used
    assert len(counted.made) == 2


@pytest.mark.parametrize(
    ("reason", "times"), [("compiling: stopped after 60 s", 1), ("fails: CUDA out of memory. Tried", 2)]
)
def test_a_reason_of_the_moment_is_not_cached(
    counted: type[Once], monkeypatch: pytest.MonkeyPatch, reason: str, times: int
) -> None:
    monkeypatch.setattr(Once, "reason", reason)
    for _ in range(2):
        assert probe_all([FLEX], GPU)[0].reason == reason
    assert len(counted.made) == times


def test_a_cache_that_cannot_be_written_leaves_probes_as_they_are(
    counted: type[Once], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("L2M_CACHE", str(tmp_path / "file"))
    assert probe_all([FLEX], GPU)[0].used


def test_a_candidate_that_passed_apart_and_does_not_load_here_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ImportError("no symbol")

    monkeypatch.setattr(probes, "CANDIDATES", (stand_in("causal", broken),))
    passed = Probe("stand-in", "causal", "float32", True, loads=True, used=True)
    kernels, found = chosen([passed])
    assert kernels == TORCH
    assert found[0].reason == "does not load: no symbol"
    assert not found[0].used


DRAWN = Architecture.parse(
    {
        "vocabulary": 64,
        "width": 64,
        "layers": [
            {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 48, "window": 100, "sinks": 2},
            {"kind": "mamba2", "d_state": 24, "head_dim": 32, "groups": 2},
            {"kind": "checkpointed_ssm", "d_state": 40, "head_dim": 16, "exponent": 0.5},
            {"kind": "gated_deltanet", "heads": 2, "head_dim": 16, "value_expand": 3},
            {"kind": "mla", "heads": 2, "head_dim": 16, "kv_rank": 8, "rope_dim": 8},
            {
                "kind": "sparse_attention",
                "heads": 2,
                "kv_heads": 1,
                "head_dim": 20,
                "chunk": 16,
                "exponent": 0.5,
                "choose": "learned",
            },
            {"kind": "mamba1", "d_state": 5},
        ],
    },
    "drawn",
)


def channels(field: str, inputs: Any) -> tuple[int, ...]:
    """Of a call: of keys, values, and what else its sizes say."""
    if field == "selective":
        return (inputs[2].shape[-1],)
    if field == "state_space":
        return (inputs[3].shape[-1], inputs[0].shape[-1], inputs[3].shape[-2])
    return (inputs[1].shape[-1], inputs[2].shape[-1], *(z for z in inputs[3:] if isinstance(z, int)))


def test_kernels_are_probed_at_the_sizes_that_layers_call_them_with() -> None:
    called: dict[str, set[tuple[int, ...]]] = {}

    def watch(field: str) -> Any:
        def call(*inputs: Any) -> Any:
            called.setdefault(field, set()).add(channels(field, inputs))
            return getattr(TORCH, field)(*inputs)

        return call

    fields = ("causal", "window", "held", "state_space", "selective", "delta")
    model = build(DRAWN, replace(TORCH, **{field: watch(field) for field in fields}))
    for length in (20, 300):  # below a window and two chunks, and above
        model(torch.zeros(1, length, dtype=torch.long))
    sizes = dict(sizes_of(DRAWN))
    assert called.keys() == sizes.keys()
    for field, shapes in called.items():
        all_of = replace(stand_in(field, lambda: None), sizes=sizes[field])
        cases = probe_cases(all_of, torch.device("cpu"), torch.float32)
        assert shapes == {channels(field, (*tensors, *rest)) for tensors, rest in cases}, field
        for tensors, rest in cases:  # and torch's forms take them
            getattr(TORCH, field)(*tensors, *rest)


def probed_at(name: str, field: str) -> list[tuple[int, int]]:
    """Channels of keys and values at which a candidate is probed for DRAWN."""
    (candidate,) = (c for c in probes._asked(sizes_of(DRAWN)) if (c.name, c.field) == (name, field))
    return [(size.key, size.value) for size in candidate.sizes]


def test_a_kernel_is_probed_at_the_sizes_that_it_serves_alone(
    counted: type[Once], monkeypatch: pytest.MonkeyPatch
) -> None:
    """xformers takes no sinks, no heads of `mla` (24 and 16 channels) and none of `learned` (21)."""
    assert probed_at("xformers", "causal") == [(48, 48)]
    assert probed_at("xformers", "window") == []
    assert probed_at("FlexAttention", "window") == [(48, 48)]
    assert probed_at("FlexAttention", "held") == [(21, 21)]
    monkeypatch.setattr(probing.importlib.util, "find_spec", lambda name: name)
    windows = tuple(c for c in CANDIDATES if (c.name, c.field) == ("xformers", "window"))
    monkeypatch.setattr(probes, "CANDIDATES", windows)
    probed.cache_clear()
    kernels, found = serving(DRAWN, torch.device("cuda"))
    assert kernels == TORCH
    assert [probe.reason for probe in found] == ["no layer fits"]
    assert not counted.made


def test_what_was_probed_at_other_sizes_does_not_count(counted: type[Once]) -> None:
    wide = replace(FLEX, sizes=(Size(64, 64, 2, window=512),))
    for candidate in (FLEX, wide, replace(FLEX, sizes=(Size(64, 64, 2, window=1024),)), wide):
        assert probe_all([candidate], GPU)[0].sizes == "; ".join(map(str, candidate.sizes))
    assert len(counted.made) == 3


def test_sizes_reach_the_process_that_probes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What that process is started with is read as the same candidate."""
    script = "import json; print(json.dumps(sys.argv[3:]), file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(sys.modules[__name__], "FLEX", replace(FLEX, sizes=(Size(64, 48, window=512),)))
    words = json.loads(apart(monkeypatch, tmp_path, script).wait().reason.partition("(exit 1): ")[2])
    found: list[Candidate] = []
    monkeypatch.setattr(probing, "stages", lambda candidate, device: [found.append(candidate)][:0])
    monkeypatch.setattr(probing.signal, "alarm", lambda seconds: None)
    probing.main(words)
    assert found == [FLEX]


def kept(study: FixedKernels) -> list[Probe]:
    """As a job brings them to a process."""
    return [Probe(**probe) for probe in json.loads(json.dumps(study.probes))]


def test_a_study_keeps_the_kernels_that_it_began_with(counted: type[Once], monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs alike, whatever a later probe would say; another type of GPU is probed for itself."""
    monkeypatch.setattr(probes, "CANDIDATES", (replace(FLEX, make=lambda: TORCH.window),))
    probed.cache_clear()
    gpu = torch.device("cuda")
    _, first = serving(DRAWN, gpu)
    assert [(probe.used, probe.on) for probe in first] == [(True, "a GPU")]
    study = FixedKernels([None, {"late_loss": 1.0, "probes": [probe.plain() for probe in first]}])
    study.learn({"probes": [replace(first[0], used=False, reason="later").plain()]})
    remembered.cache_file().unlink()
    monkeypatch.setattr(Once, "reason", "differs from torch by 1")
    probed.cache_clear()
    assert serving(DRAWN, gpu, kept(study))[1][0].used
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another GPU")
    probed.cache_clear()
    assert not serving(DRAWN, gpu, kept(study))[1][0].used
