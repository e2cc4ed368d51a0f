"""Kernels: a faster form is used only when it agrees with torch's; whatever else happens is one sentence."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model import build, candidates, flex, probes, probing
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.kernels import TORCH
from l2m_design.model.lifetimes import best_lifetimes
from l2m_design.model.probes import Dispatch, probe_all, probed, said
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
    assert probe.wrong
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
@pytest.mark.parametrize(
    ("s", "chunk", "t", "size"), [(1, 32, 300, 16), (2, 32, 1000, 16), (2, 256, 700, 17), (1, 8, 130, 65)]
)
def test_flex_attention_reads_what_is_held(
    monkeypatch: pytest.MonkeyPatch, s: int, chunk: int, t: int, size: int
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    attention = flex.flex_held()
    query, key, value = (torch.randn(2, heads, t, size) for heads in (4, 2, 2))
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

    for make, words, library, wrong in (
        (broken, "does not load: no symbol", "fla", False),
        (broken, "does not load: no symbol", "torch", True),
        (lambda: fails, "fails: no operator", "fla", True),
    ):
        probe, function = measure(replace(stand_in("window", make), library=library))
        assert function is None
        assert (probe.reason, probe.wrong) == (words, wrong)


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
    assert not probe.wrong


def test_what_computes_is_said_on_a_gpu_and_nothing_on_a_cpu() -> None:
    used = Probe("fast", "causal", "bfloat16", True, loads=True, used=True)
    refused = replace(used, name="broken", used=False, reason="does not load: no symbol")
    absent = replace(used, found=False, used=False, reason="not installed")
    assert said((used, refused, absent), CPU) == []
    assert said((used, refused, absent), GPU) == [
        "causal in bfloat16 by fast",
        "causal in bfloat16 by broken: does not load: no symbol; torch is used instead",
    ]


def test_the_first_candidate_that_agrees_serves_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*inputs: Any) -> Any:
        raise NotImplementedError

    def same(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return TORCH.causal(query, key, value)

    makes = (lambda: fails, lambda: same, lambda: fails)
    listed = tuple(replace(stand_in("causal", make), name=f"{at}") for at, make in enumerate(makes))
    monkeypatch.setattr(probes, "CANDIDATES", listed)
    monkeypatch.setattr(probes, "probe_all", lambda turn, *rest: [measure(candidate)[0] for candidate in turn])
    kernels, found = probed.__wrapped__(CPU)
    assert [function for _, function in kernels.causal.fast] == [same]
    assert kernels.window is TORCH.window
    assert [probe.used for probe in found] == [False, True, False]
    assert found[2].reason == "not needed: another one serves"


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
