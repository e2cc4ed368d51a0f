"""The speeds of accept_gpu.py: layers at 65,536 tokens, the training of the gpu-50m recipe, decoding at 32,768."""

import contextlib
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from gpu import PEAK_FLOPS
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.model import build
from l2m_design.model.acceptance import Check, Found, Skipped, milliseconds, synchronise
from l2m_design.model.backends import autocast
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.graphed import Graph, decoder, fixed
from l2m_design.model.kernels import Kernels
from l2m_design.model.mixer import Mixer, Pass
from l2m_design.model.probing import Probe
from l2m_design.training.latency import timed_decoding
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train

CONFIG = Path(__file__).parents[1] / "configs" / "gpu-50m.yaml"
GIB = 2**30
LONGEST = 10.0  # seconds that one layer's forward and backward may take
GRAPH_ERROR = 1e-2  # of logits in bfloat16
MOST = 6.0  # seconds of timed training steps


@dataclass(frozen=True)
class Sizes:
    """Lengths and batches in tokens. values: of the value checks; counted: of the count of kernels; layer, decoding: of
    those sections. warm, steps: of training, before the clock and timed. types: a layer of every mixer type.
    """

    width: int = 512
    values: int = 4096
    counted: int = 8192
    layer: int = 65536
    decoding: int = 32768
    decoding_layers: int = 12
    parameters: int = 50_000_000
    batch_tokens: int = 65536
    length: int = 4096
    warm: int = 3
    steps: int = 8
    vocabularies: tuple[int, ...] = (256, 50257)
    types: dict[str, dict[str, Any]] = field(default_factory=dict)

    def layers(self) -> dict[str, dict[str, Any]]:
        """The layers of the gpu-50m space, at these sizes."""
        heads = {key: self.types["attention"][key] for key in ("heads", "kv_heads", "head_dim")}
        attention = {"kind": "attention", **heads, "qk_norm": True, "short_conv": 4}
        window = attention | {"window": self.types["window"]["window"], "sinks": 4}
        sparse = self.types["sparse, spread"] | {"qk_norm": True, "short_conv": 4}
        return {"attention": attention, "window": window, "mamba2": self.types["mamba2"], "sparse": sparse}

    def designs(self) -> dict[str, list[dict[str, Any]]]:
        """Three designs of 12 layers."""
        kinds = self.layers()
        attention, window, mamba = kinds["attention"], kinds["window"], kinds["mamba2"]
        return {"A x 12": [attention] * 12, "M M M A x 3": [mamba, mamba, mamba, attention] * 3,
                "W W W A x 3": [window, window, window, attention] * 3}  # fmt: skip


def layer_checks(sizes: Sizes, device: torch.device, kernels: Kernels) -> list[Check]:
    """Each mixer type, one sequence, forward and backward in bfloat16."""
    return [(name, partial(_layer, layer, sizes, device, kernels)) for name, layer in sizes.types.items()]


def _layer(layer: dict[str, Any], sizes: Sizes, device: torch.device, kernels: Kernels) -> Found:
    torch.manual_seed(0)
    drawn = Architecture.parse({"vocabulary": 256, "width": sizes.width, "layers": [layer]}, "acceptance")
    mixer = build_mixer(drawn.layers[0], sizes.width, kernels=kernels).to(device)
    short, long = sizes.counted, sizes.layer
    step = _pass(mixer, torch.randn(1, short, sizes.width, device=device), device)
    step()  # compiles
    launched, waits, peak, took = _launches(step, device), _waits(step, device), *_cost(step, device)
    numbers: dict[str, object] = {"kernels": launched, "synchronisations": waits, "length": short, "ms": 1000 * took}
    words = f"{launched:,} kernels, {waits} waits and {1000 * took:.1f} ms at {short:,}"
    scale = long // short
    if device.type == "cuda" and peak * scale > torch.cuda.mem_get_info(device)[0]:
        return Found(f"{words}; {long:,} tokens would need {peak * scale / GIB:.0f} GiB", numbers)
    if took * scale > LONGEST:
        return Found(f"{words}; {long:,} tokens would take {took * scale:.0f} s", numbers)
    step = _pass(mixer, torch.randn(1, long, sizes.width, device=device), device)
    try:
        step()
        peak, took = _cost(step, device)
    except torch.OutOfMemoryError:
        return Found(f"{words}; out of memory at {long:,}", numbers)
    if took < 1:
        took = milliseconds(step, device, runs=3, warm=0) / 1000
    numbers["long"] = {"length": long, "ms": 1000 * took, "peak_gib": peak / GIB}
    words += f"; {1000 * took:,.1f} ms and {peak / GIB:.1f} GiB at {long:,}"
    if took < 1:
        numbers["long"] |= {"kernels": (launched := _launches(step, device))}
        words += f", {launched:,} kernels"
    return Found(words, numbers)


class _pass:  # noqa: N801 - a function with data
    """A mixer's forward and backward pass over x [1 t d]; every token's surprise is given."""

    def __init__(self, mixer: Mixer, x: Tensor, device: torch.device) -> None:
        self.mixer, self.x, self.device = mixer, x.requires_grad_(), device
        self.given = Pass(surprise=torch.rand(x.shape[:2], device=device))

    def __call__(self) -> None:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            y = self.mixer.lending(self.x, self.mixer.empty(1), None, self.given)[0]
        y.float().square().mean().backward()


def _cost(step: _pass, device: torch.device) -> tuple[int, float]:
    """Peak bytes and seconds of one call."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    synchronise(device)
    began = time.perf_counter()
    step()
    synchronise(device)
    took = time.perf_counter() - began
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0, took


def _launches(step: Any, device: torch.device) -> int:
    """Kernels and copies that a call launches; on a CPU operations of aten."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CUDA if device.type == "cuda" else kinds.CPU]) as found:
        step()
        synchronise(device)
    events = found.profiler.kineto_results.events() if found.profiler else []
    there = torch.autograd.DeviceType.CUDA if device.type == "cuda" else torch.autograd.DeviceType.CPU
    return sum(event.device_type() == there for event in events)


def _waits(step: Any, device: torch.device) -> int:
    """Calls for which the host waits until the device has done all its work."""
    if device.type != "cuda":
        step()
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in told)


class Noise(Corpus):
    """Random tokens, enough for a few steps."""

    name = "noise"

    def __init__(self, vocabulary: int, length: int) -> None:
        self.vocabulary, self.length = vocabulary, length

    @property
    def fingerprint(self) -> str:
        return f"{self.vocabulary:08x}{self.length:08x}"

    def write(self, writer: TokenWriter) -> None:
        draw = np.random.default_rng(0)
        for index in range(40):
            writer.begin(f"{index}")
            writer.add(draw.integers(0, self.vocabulary, 2 * self.length + 2))


class _Enough(Exception):
    """As many steps as are needed were timed."""


Probes = tuple[Probe, ...]


def recipe_checks(sizes: Sizes, device: torch.device, probes: Probes) -> list[Check]:
    """The gpu-50m recipe by the product's own `train`, eager, with the kernels that passed."""
    return _recipes(sizes, device, probes, False)


def compiled_checks(sizes: Sizes, device: torch.device, probes: Probes) -> list[Check]:
    """The same, compiled."""
    return _recipes(sizes, device, probes, True)


def _recipes(sizes: Sizes, device: torch.device, probes: Probes, compiled: bool) -> list[Check]:
    return [
        (f"{name}, {vocabulary:,} tokens", partial(_trained, layers, vocabulary, sizes, device, probes, compiled))
        for vocabulary in sizes.vocabularies
        for name, layers in sizes.designs().items()
    ]


def _trained(
    layers: list[dict[str, Any]], vocabulary: int, sizes: Sizes, device: torch.device, probes: Probes, compiled: bool
) -> Found:
    """Tokens a second of training steps, without the first ones; hours of a trial and of a finalist's run."""
    if compiled and device.type != "cuda":
        raise Skipped("torch.compile is for GPUs")
    if compiled:
        torch.compiler.reset()  # as in a process of its own: no design compiles against the limit of another
    drawn = _sized(layers, vocabulary, sizes.parameters)
    config = yaml.safe_load(CONFIG.read_text())
    settings = config["recipe"] | {"length": sizes.length, "batch_tokens": sizes.batch_tokens, "compile": compiled}
    recipe = Recipe.parse({**settings, "tokens": 100 * sizes.batch_tokens, "windows": 8, "rungs": []}, str(CONFIG))
    times: list[float] = []  # the first timed step's begin and the last one's end, after all work on the device
    timed = peak = 0

    def on_step(done: int, total: int) -> None:
        nonlocal timed, peak
        timed = done - sizes.warm
        if timed == 0 or timed == sizes.steps or (timed > 0 and time.perf_counter() - times[0] > MOST):
            synchronise(device)
            times.append(time.perf_counter())
        if len(times) == 2:
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            raise _Enough

    began = time.perf_counter()
    with contextlib.suppress(_Enough):
        train(drawn, Noise(vocabulary, sizes.length), recipe, device, on_step=on_step, probes=probes)
    a_step = (times[1] - times[0]) / timed
    rate = recipe.batch * recipe.length / a_step
    numbers: dict[str, object] = {
        "parameters": drawn.parameters, "width": drawn.width, "tokens_per_second": rate, "step_ms": 1000 * a_step,
        "peak_gib": peak / GIB, "first_steps_seconds": times[0] - began,
        "trial_hours": config["recipe"]["tokens"] / rate / 3600,
        "finalist_hours": config["finalists"]["tokens"] / rate / 3600,
    }  # fmt: skip
    used = _share_of_peak(3 * drawn.flops(recipe.length) * recipe.batch / a_step, device)
    numbers["mfu"] = used
    words = f"{rate:,.0f} tokens/s, MFU {'unknown' if used is None else f'{used:.1%}'}, {peak / GIB:.1f} GiB, "
    words += f"{numbers['trial_hours']:.2f} h a trial, {numbers['finalist_hours']:.2f} h a finalist's run; "
    return Found(f"{words}ready after {times[0] - began:.0f} s, width {drawn.width}", numbers)


def _sized(layers: list[dict[str, Any]], vocabulary: int, parameters: int) -> Architecture:
    """The width whose parameters are nearest to what is asked."""
    architectures = [
        Architecture.parse({"vocabulary": vocabulary, "width": width, "layers": layers}, "acceptance")
        for width in range(64, 1025, 64)
    ]
    return min(architectures, key=lambda each: abs(each.parameters - parameters))


def _share_of_peak(rate: float, device: torch.device) -> float | None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((rate / peak for key, peak in PEAK_FLOPS.items() if key in name), None)


def decoding_checks(sizes: Sizes, device: torch.device, kernels: Kernels) -> list[Check]:
    """A token behind a long context, for stacks of one layer type."""
    return [(name, partial(_decoded, layer, sizes, device, kernels)) for name, layer in sizes.layers().items()]


def _decoded(layer: dict[str, Any], sizes: Sizes, device: torch.device, kernels: Kernels) -> Found:
    layers = [layer] * sizes.decoding_layers
    drawn = Architecture.parse({"vocabulary": 256, "width": sizes.width, "layers": layers}, "acceptance")
    model = build(drawn, kernels).to(device).eval()
    took = timed_decoding(model, sizes.decoding, device).milliseconds
    tokens = torch.zeros(1, 64, dtype=torch.long, device=device)
    with torch.inference_mode(), autocast(device):
        _, state = model.prefill(tokens)
        launched = _launches(partial(model.step, tokens[:, 0], state), device)
        read, expected, held = decoder(model, state), [], state
        for _ in range(4):
            logits, held = model.step(tokens[:, 0], held)
            expected.append(logits)
        error = max(float((read(tokens[:, 0]) - logits).abs().max() / logits.abs().max()) for logits in expected)
    numbers: dict[str, object] = {"ms": took, "kernels": launched, "layers": len(layers), "graph_error": error}
    words = f"{took:.2f} ms a token at {sizes.decoding:,}, {launched:,} kernels"
    if isinstance(read, Graph):
        step = partial(model.step, tokens[:, 0], state)
        with torch.inference_mode(), autocast(device):
            numbers["step_ms"] = milliseconds(step, device)
        words += f"; a CUDA graph, {numbers['step_ms']:.2f} ms without, {error:.0e} from it"
    else:
        words += "; no CUDA graph" + ("" if fixed(model, state) else ": its state grows or counts positions")
    return Found(words, numbers, error <= GRAPH_ERROR)
