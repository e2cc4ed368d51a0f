"""Kernels: a faster form is used only when it agrees with torch's; whatever else happens is one sentence."""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model import build, candidates, flex, probes, probing, remembered
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.kernels import TORCH
from l2m_design.model.lifetimes import best_lifetimes
from l2m_design.model.probes import Apart, Dispatch, chosen, probe_all, probed, said
from l2m_design.model.probing import Probe, stages
from tests.model.test_generate import LAYERS

CPU = torch.device("cpu")
GPU: Any = SimpleNamespace(type="cuda")
FLEX = next(candidate for candidate in CANDIDATES if candidate.field == "window")
FIELDS = ("causal", "window", "state_space", "selective", "delta")


def stand_in(field: str, make: Callable[[], Callable[..., Any]]) -> Candidate:
    return Candidate("stand-in", field, "torch", torch.float32, make)


def measure(candidate: Candidate) -> tuple[Probe, Any]:
    *_, probe = stages(candidate, CPU)
    return probe, candidate.make() if probe.used else None


@pytest.mark.parametrize("field", FIELDS)
def test_a_kernel_that_agrees_is_used(field: str) -> None:
    probe, function = measure(stand_in(field, lambda: getattr(TORCH, field)))
    assert probe.used
    assert probe.loads
    assert probe.error == 0
    assert probe.seconds
    assert function is getattr(TORCH, field)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("part", ["value", "gradient"])
def test_a_kernel_that_deviates_in_value_or_gradient_is_refused(field: str, part: str) -> None:
    def wrong(*inputs: Any) -> Any:
        outputs = getattr(TORCH, field)(*inputs)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        off = 1.001 * first if part == "value" else first * 0.5 + first.detach() * 0.5
        return (off, *outputs[1:]) if isinstance(outputs, tuple) else off

    probe, function = measure(stand_in(field, lambda: wrong))
    assert function is None
    assert not probe.used
    assert "differs from torch by" in probe.reason


def test_a_kernel_that_gives_no_numbers_is_refused() -> None:
    probe, function = measure(stand_in("causal", lambda: lambda q, k, v: TORCH.causal(q, k, v) * torch.nan))
    assert function is None
    assert "differs" in probe.reason


@pytest.mark.parametrize("field", FIELDS)
def test_gradients_that_are_no_numbers_are_refused(field: str) -> None:
    class Spoiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            return z.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0] * torch.nan

    def wrong(*inputs: Any) -> Any:
        return getattr(TORCH, field)(*inputs[:1], Spoiled.apply(inputs[1]), *inputs[2:])

    probe, function = measure(stand_in(field, lambda: wrong))
    assert function is None
    assert probe.error == float("inf")


def test_a_kernel_that_ignores_what_mixers_pass_is_refused() -> None:
    def from_nothing(*inputs: Tensor) -> Any:
        y, last = TORCH.state_space(*inputs[:5])
        return y + 0 * inputs[5].sum(), last

    def without_sinks(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int) -> Tensor:
        return TORCH.window(query, key, value, window, 0)

    def last_state_alone(*inputs: Tensor) -> Any:
        y, last = TORCH.state_space(*inputs)
        return y, last.detach()

    for field, wrong in (
        ("state_space", from_nothing),
        ("state_space", last_state_alone),
        ("window", without_sinks),
    ):
        assert measure(stand_in(field, lambda wrong=wrong: wrong))[1] is None


def test_a_form_serves_its_dtype_and_shapes_only() -> None:
    calls = []

    def fast(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        calls.append(value.dtype)
        return TORCH.causal(query, key, value)

    wide = Candidate("stand-in", "causal", "torch", torch.bfloat16, lambda: fast, candidates._wide_heads)
    attention = Dispatch(TORCH.causal, 2, ((wide, fast),))
    for dtype, width in ((torch.bfloat16, 32), (torch.float32, 32), (torch.bfloat16, 8)):
        z = torch.randn(1, 2, 5, width, dtype=dtype)
        torch.testing.assert_close(attention(z, z, z), TORCH.causal(z, z, z))
    assert calls == [torch.bfloat16]


@pytest.mark.parametrize(("t", "window", "sinks"), [(128, 1, 0), (300, 50, 4), (1000, 200, 0), (1000, 129, 130)])
def test_flex_blocks_are_those_that_the_band_touches(t: int, window: int, sinks: int) -> None:
    at = torch.arange(t)
    behind = at[:, None] - at
    band = (behind >= 0) & ((behind < window) | (at < sinks))
    size = -(-t // flex.BLOCK)
    padded = F.pad(band, (0, size * flex.BLOCK - t, 0, size * flex.BLOCK - t))
    touched = padded.view(size, flex.BLOCK, size, flex.BLOCK).any(3).any(1)
    assert torch.equal(flex.read_blocks(t, window, sinks), touched)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_reads_the_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not compiled: what the block mask says, on a CPU."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    attention = flex.flex_window()
    query, key, value = (torch.randn(1, heads, 300, 16) for heads in (4, 2, 2))
    with torch.no_grad():
        expected = TORCH.window(query, key, value, 50, 4)
        torch.testing.assert_close(attention(query, key, value, 50, 4), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("s", "chunk", "t"), [(1, 32, 300), (2, 32, 1000), (2, 256, 700), (1, 8, 130)])
def test_flex_attention_reads_what_is_held(monkeypatch: pytest.MonkeyPatch, s: int, chunk: int, t: int) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    attention = flex.flex_held()
    query, key, value = (torch.randn(2, heads, t, 16) for heads in (4, 2, 2))
    until = best_lifetimes(GlobalBudget(chunk, "power", 0.6, 2.0), torch.rand(2, s, t))
    with torch.no_grad():
        expected = TORCH.held(query, key, value, until, chunk)
        torch.testing.assert_close(attention(query, key, value, until, chunk), expected, atol=1e-5, rtol=1e-5)


def test_flex_columns_are_what_blocks_of_queries_read() -> None:
    until = best_lifetimes(GlobalBudget(16, "power", 0.5, 2.0), torch.rand(1, 1, 4096))
    index, reader = flex.columns(until, 16)
    assert index.shape[-1] < 4096 * 4096 / flex.BLOCK / 4
    for block in (0, 5, 31):
        columns = index[0, 0, reader == block]
        rows = torch.arange(block * flex.BLOCK, (block + 1) * flex.BLOCK)[:, None]
        at = torch.arange(4096)
        wanted = ((at <= rows) & (until[0, 0] > rows // 16)).any(0)
        assert set(wanted.nonzero()[:, 0].tolist()) <= set(columns.tolist())


def test_the_clock_gives_torchs_time_over_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock of our own, by which each of the candidate's calls takes twice as long."""
    now = [0.0]

    def once(*inputs: Any) -> Any:
        now[0] += 1.0
        return TORCH.selective(*inputs)

    monkeypatch.setattr(probing, "TORCH", replace(TORCH, selective=once))
    monkeypatch.setattr(probing.time, "perf_counter", lambda: now[0])

    def twice(*inputs: Any) -> Any:
        now[0] += 2.0
        return TORCH.selective(*inputs)

    assert probing.speed(stand_in("selective", lambda: twice), twice, CPU) == 0.5


def test_a_library_that_does_not_load_or_run_says_why_in_one_line() -> None:
    def broken() -> Any:
        raise ImportError("no symbol\nand a long story")

    def fails(*inputs: Any) -> Any:
        raise NotImplementedError("no operator\nfor this device")

    for make, words in ((broken, "does not load: no symbol"), (lambda: fails, "fails: no operator")):
        probe, function = measure(stand_in("window", make))
        assert function is None
        assert probe.reason == words


def test_on_a_cpu_torch_computes_and_every_candidate_says_why() -> None:
    kernels, found = probed(CPU)
    assert kernels == TORCH
    assert len(found) == len(CANDIDATES)
    assert all(probe.reason and not probe.used for probe in found)
    absent = replace(CANDIDATES[0], library="no_such_library")
    assert probe_all([absent], CPU)[0].reason == "not installed"


@pytest.mark.parametrize(("speed", "used"), [(0.7, False), (1.3, True)])
def test_a_kernel_that_is_slower_than_torch_is_not_used(
    monkeypatch: pytest.MonkeyPatch, speed: float, used: bool
) -> None:
    """The rule, with times told: they are taken on GPUs only."""
    monkeypatch.setattr(probing, "speed", lambda candidate, function, device: speed)
    monkeypatch.setattr(probing, "parity", lambda candidate, function, device: 0.0)
    probe = list(stages(stand_in("causal", lambda: TORCH.causal), GPU))[-1]
    assert probe.used is used
    assert used or probe.reason == "agrees, at 0.70 of torch's speed"


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
    assert probe == replace(stage, reason="compiling takes more than 2 s")
    with (tmp_path / "held").open() as held:
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.1)
    pytest.fail("what the process started still runs")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("os.kill(os.getpid(), 11)", "starting ends its process (signal 11)"),
        ("sys.exit('no device')", "starting ends its process (exit 1): no device"),
    ],
)
def test_a_crash_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str, words: str) -> None:
    assert apart(monkeypatch, tmp_path, end).wait().reason == words


def test_what_computes_is_said_on_a_gpu_and_nothing_on_a_cpu() -> None:
    used = Probe("fast", "causal", "bfloat16", True, loads=True, used=True)
    refused = replace(used, name="broken", used=False, reason="does not load: no symbol")
    absent = replace(used, found=False, used=False, reason="not installed")
    assert said((used, refused, absent), CPU) == []
    assert said((used, refused, absent), GPU) == [
        "causal in bfloat16 by fast",
        "causal in bfloat16 by broken: does not load: no symbol; torch computes",
    ]


def test_the_first_candidate_that_agrees_serves_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*inputs: Any) -> Any:
        raise NotImplementedError

    def same(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return TORCH.causal(query, key, value)

    makes = (lambda: fails, lambda: same, lambda: fails)
    listed = tuple(replace(stand_in("causal", make), name=f"{at}") for at, make in enumerate(makes))
    monkeypatch.setattr(probes, "CANDIDATES", listed)
    monkeypatch.setattr(probes, "probe_all", lambda turn, device, fresh: [measure(candidate)[0] for candidate in turn])
    kernels, found = probed.__wrapped__(CPU)
    assert [function for _, function in kernels.causal.fast] == [same]
    assert kernels.window is TORCH.window
    assert [probe.used for probe in found] == [False, True, False]
    assert found[2].reason == "not needed: another one serves"


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
    ("reason", "times"), [("compiling takes more than 60 s", 1), ("fails: CUDA out of memory. Tried", 2)]
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


def memory_efficient_attention(query: Tensor, key: Tensor, value: Tensor, attn_bias: Any) -> Tensor:
    """What xformers computes, by its documentation: [b t h k], a bias that knows its mask."""
    t = query.shape[1]
    assert query.is_contiguous()
    assert query.dtype == key.dtype == value.dtype
    behind = torch.arange(t)[:, None] - torch.arange(t)
    mask = (behind >= 0) & (behind <= getattr(attn_bias, "window_left", t))
    heads = (z.transpose(1, 2) for z in (query, key, value))
    return F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2)


class LocalAttentionFromBottomRightMask:
    def __init__(self, window_left: int, window_right: int) -> None:
        assert window_right == 0
        self.window_left = window_left


def test_xformers_is_called_in_its_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    ops: Any = type(sys)("xformers.ops")
    ops.memory_efficient_attention, ops.LowerTriangularMask = memory_efficient_attention, object
    biases: Any = type(sys)("xformers.ops.fmha.attn_bias")
    biases.LocalAttentionFromBottomRightMask = LocalAttentionFromBottomRightMask
    for name in ("xformers", "xformers.ops.fmha"):
        package = type(sys)(name)
        package.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    monkeypatch.setitem(sys.modules, "xformers.ops.fmha.attn_bias", biases)
    for candidate in (c for c in CANDIDATES if c.library == "xformers"):
        probe, function = measure(candidate)
        assert probe.used, probe.reason
        assert probe.error is not None
        assert (probe.error > 1e-4) == (candidate.dtype == torch.bfloat16)
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 40, 8, generator=draw) for heads in (4, 2, 2))
    assert function is not None
    torch.testing.assert_close(function(query, key, value, 5, 2), TORCH.window(query, key, value, 5, 2))


def chunk_simple_gla(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float, initial_state: Tensor | None, output_final_state: bool
) -> tuple[Tensor, Tensor]:
    """What flash-linear-attention computes, by its documentation: q, k [b t h k], v [b t h v], g [b t h] log decays."""
    state = q.new_zeros(len(q), *q.shape[2:], v.shape[-1]).float() if initial_state is None else initial_state
    y = []
    for t in range(q.shape[1]):
        state = state * g[:, t, :, None, None].exp() + k[:, t, :, :, None] * v[:, t, :, None]
        y.append(scale * (q[:, t, :, None].float() @ state)[:, :, 0])
    return torch.stack(y, dim=1).to(v.dtype), state


def chunk_gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float, initial_state: Tensor, **given: bool
) -> tuple[Tensor, Tensor]:
    """Likewise, beta [b t h]."""
    state, y = initial_state, []
    for t in range(q.shape[1]):
        state, key = state * g[:, t, :, None, None].exp(), k[:, t, :, :, None].float()
        error = v[:, t, :, None].float() - key.transpose(-1, -2) @ state
        state = state + key @ (beta[:, t, :, None, None].float() * error)
        y.append(scale * (q[:, t, :, None].float() @ state)[:, :, 0])
    return torch.stack(y, dim=1).to(v.dtype), state


def test_flash_linear_attention_is_called_in_its_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {"simple_gla": chunk_simple_gla, "gated_delta_rule": chunk_gated_delta_rule}
    for name in ("fla", "fla.ops", *(f"fla.ops.{module}" for module in functions)):
        package: Any = type(sys)(name)
        package.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, package)
    for module, function in functions.items():
        setattr(sys.modules[f"fla.ops.{module}"], function.__name__, function)
    for candidate in (c for c in CANDIDATES if c.library == "fla"):
        probe, function = measure(candidate)
        assert probe.used, probe.reason
        assert probe.error is not None
        assert (probe.error > 1e-4) == (candidate.dtype == torch.bfloat16)
        assert not candidate.fits(torch.zeros(1, 63, 2, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: f"{c.field}, {c.dtype}, by {c.name}")
def test_installed_kernels_agree_with_torch_on_a_gpu(candidate: Candidate) -> None:
    probe = probe_all([candidate], torch.device("cuda"), fresh=True)[0]
    if not probe.found:
        pytest.skip(f"{candidate.library} is not installed")
    assert probe.used or "of torch's speed" in probe.reason, probe.reason


def test_mamba_ssms_kernels_agree_in_tritons_interpreter(tmp_path: Path) -> None:
    """The real package on a CPU: its Triton scan interpreted, its selective scan by its own reference."""
    script = Path(__file__).with_name("interpreted.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr


def gradients(model: Any, run: Any, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    y = run(x)
    y.logsumexp(-1).pow(2).sum().backward()
    return [y.detach(), *(p.grad.clone() for p in model.parameters())]


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 31, "width": 16, "layers": LAYERS}, "test"))


def test_recomputing_layers_changes_no_gradient(model: Any) -> None:
    x = torch.randint(0, 31, (2, 100))
    expected = gradients(model, model, x)
    again = build(model.architecture, recompute=True)
    again.load_state_dict(model.state_dict())
    for ours, theirs in zip(gradients(again, again, x), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_compiling_is_safe_with_every_mixer(model: Any) -> None:
    """Traced with a backend that compiles nothing, so that what differs would be the tracing's fault."""
    torch._dynamo.reset()
    x = torch.randint(0, 31, (2, 100))
    expected = gradients(model, model, x)
    compiled = torch.compile(model, backend="aot_eager")
    for ours, theirs in zip(gradients(model, compiled, x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(compiled(x[:, :60]), expected[0][:, :60], atol=1e-4, rtol=1e-4)
    torch._dynamo.reset()
