"""Sparse keys: time beside full attention, growth of the cost with length, the price of surprise, decoding.

Run: python benchmarks/sparse.py [--runs 5] [--only layers growth competing passes decode gpu]. Medians; both sides
of a ratio take turns in one process, freed memory is kept. For the report: > reports/surprise-kv/sparse.txt. About 15
minutes.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import medians
from torch.nn import functional as F

from l2m_design.architecture import Architecture, Attention, SparseAttention
from l2m_design.model import build
from l2m_design.model.attention import KeyValues
from l2m_design.model.backends import keep_freed_memory
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.value import value_lesson

WIDTH, CHUNK = 256, 64
HEADS: dict[str, Any] = {"heads": 4, "kv_heads": 4, "head_dim": 64}
SPARSE: dict[str, Any] = HEADS | {"chunk": CHUNK}
CHUNKED = {"exponent": 0.5}
GLOBAL = {"exponent": 0.5, "keep": 16.0, "allocate": "global"}  # t^0.5 · 16: as many as t^0.5 in chunks of 64
LAYERS: dict[str, dict[str, Any]] = {
    "chunk, t^0.5, spread": CHUNKED,
    "chunk, t^0.5, learned": CHUNKED | {"choose": "learned"},
    "global, 16 t^0.5, recency": GLOBAL | {"choose": "recency"},
    "global, 16 t^0.5, key_norm": GLOBAL | {"choose": "key_norm"},
    "chunk, t^0.75, spread": {"exponent": 0.75},
}


def trained(
    layer: SparseAttention | Attention, length: int, width: int = WIDTH, batch: int = 1
) -> Callable[[], object]:
    torch.manual_seed(0)
    mixer = build_mixer(layer, width)
    for name, p in mixer.named_parameters():
        if name.startswith("use."):  # starts flat: heads would hold equally many slots
            torch.nn.init.normal_(p, std=0.1)
    x = torch.randn(batch, length, width)

    def step() -> None:
        mixer(x, mixer.empty(batch))[0].sum().backward()

    return step


def causal(length: int) -> Callable[[], object]:
    """SDPA alone, without projections."""
    query, key, value = (torch.randn(1, 4, length, 64, requires_grad=True) for _ in range(3))

    def step() -> None:
        F.scaled_dot_product_attention(query, key, value, is_causal=True).sum().backward()

    return step


def alone(layer: SparseAttention, length: int) -> Callable[[], object]:
    """The attention of a sparse layer, without projections."""
    from l2m_design.model.eviction import Eviction
    from l2m_design.model.lifetimes import held_attention

    query, key, value = (torch.randn(1, 4, length, 64, requires_grad=True) for _ in range(3))
    eviction = Eviction(layer)
    score = torch.rand(1, 4, length)

    def step() -> None:
        until = eviction.lifetimes(key, score if layer.choose == "learned" else None)
        held_attention(query, key, value, until, CHUNK).sum().backward()

    return step


def layers(runs: int, length: int = 16384) -> None:
    specs = {name: SparseAttention(**SPARSE, **fields) for name, fields in LAYERS.items()}
    steps = {"SDPA, causal": causal(length)} | {name: trained(spec, length) for name, spec in specs.items()}
    steps |= {f"{name}: attention alone": alone(spec, length) for name, spec in specs.items()}
    found = medians(steps, runs)
    print(f"forward + backward at {length:,} tokens, 4 heads of 64, chunk {CHUNK}, seconds and ratio to SDPA causal")
    for name in ("SDPA, causal", *specs):
        bare = found.get(f"{name}: attention alone")
        held = "" if name not in specs else f"  holds {specs[name].growth.count(length):,}"
        ratio = "" if bare is None else f"  attention alone {bare / found['SDPA, causal']:.3f}"
        print(f"{name:30}{found[name]:8.3f}{found[name] / found['SDPA, causal']:8.3f}{ratio}{held}")


def growth(runs: int) -> None:
    lengths = [2048, 4096, 8192, 16384, 32768]
    print("\nfitted exponent of the layer's cost, 2,048 to 32,768 tokens (asked: at most 1 + gamma + 0.1)")
    for gamma in (0.25, 0.5, 0.75):
        for fields in (
            {"exponent": gamma},
            {"exponent": gamma, "keep": 4.0, "allocate": "global", "choose": "key_norm"},
        ):
            spec = SparseAttention(**SPARSE, **fields)
            found = medians({str(length): trained(spec, length) for length in lengths}, runs)
            slope = np.polyfit(np.log(lengths), np.log([found[str(length)] for length in lengths]), 1)[0]
            times = " ".join(f"{found[str(length)]:.3f}" for length in lengths)
            print(f"{spec.allocate:7} t^{gamma:<5} exponent {slope:.2f}   seconds {times}")


def competing(runs: int) -> None:
    """Layers that choose by use hold an eighth of the context, beside full attention with the same projections."""
    print("\nforward + backward, 4 heads of 32: seconds, ratio to full attention (asked: 1.5, at 16,384 tokens 0.45)")
    heads: dict[str, Any] = {"heads": 4, "kv_heads": 4, "head_dim": 32}
    for length, batch, chunk in ((1024, 4, 32), (2048, 2, 32), (4096, 1, 32), (4096, 1, 64), (16384, 1, 64)):
        steps = {"full": trained(Attention(**heads), length, 128, batch)}
        budget: dict[str, Any] = {"chunk": chunk, "exponent": 0.5, "keep": length**0.5 / 8, "choose": "use"}
        for allocate in ("global", "layer"):
            spec = SparseAttention(**heads, **budget, allocate=allocate)
            steps[allocate] = trained(spec, length, 128, batch)
        found = medians(steps, runs)
        times = "   ".join(f"{name} {took:.3f} ({took / found['full']:.2f})" for name, took in found.items())
        print(f"{batch} x {length:>5,}, chunk {chunk}: {times}")


def passes(runs: int) -> None:
    print("\na training step that needs surprise beside one that does not, 2 sparse layers, width 256, vocabulary 256")
    for length, batch in ((512, 8), (4096, 1), (16384, 1)):
        tokens = torch.randint(0, 256, (batch, length))
        steps: dict[str, Callable[[], object]] = {}
        for choose in ("key_norm", "surprise", "value"):
            layer = {"kind": "sparse_attention", **SPARSE, **GLOBAL, "keep": 8.0, "choose": choose, "qk_norm": True}
            torch.manual_seed(0)
            model = build(Architecture.parse({"vocabulary": 256, "width": WIDTH, "layers": [layer] * 2}, choose))

            def step(model: Any = model, choose: str = choose, tokens: torch.Tensor = tokens) -> None:
                loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
                loss.backward()

            steps[choose] = step
        steps["lesson"] = lambda model=model, tokens=tokens: value_lesson(
            model, tokens[: -(-len(tokens) // 4)]
        ).backward()
        found = medians(steps, runs)
        one, rows = found["key_norm"], -(-batch // 4)
        lesson = found["lesson"] * batch / 4 / rows  # of one sequence in four, of several steps where there are fewer
        print(
            f"{batch} x {length:>6,}: one pass {one:.3f} s, surprise {found['surprise'] / one:.2f} times, "
            f"value {found['value'] / one:.2f}, with lessons {(found['value'] + lesson) / one:.2f}"
        )


def decode(runs: int, length: int = 32768) -> None:
    torch.manual_seed(0)
    sparse = SparseAttention(**SPARSE, **CHUNKED)
    best = SparseAttention(**SPARSE, **GLOBAL, choose="surprise")
    x = torch.randn(1, 1, WIDTH)
    steps: dict[str, Callable[[], object]] = {}
    for name, spec in (("full", Attention(**HEADS)), ("chunk t^0.5", sparse), ("global 16 t^0.5", best)):
        mixer: Any = build_mixer(spec, WIDTH)
        slots = spec.growth.count(length)
        heads = getattr(spec, "score_heads", 0)
        keys, values = (torch.randn(1, 4, slots, 64) for _ in range(2))
        scores = torch.rand(1, heads, slots) if heads else None
        state = KeyValues(keys, values, mixer.empty(1).conv, length, scores)

        def step(mixer: Any = mixer, state: KeyValues = state) -> None:
            with torch.inference_mode():
                held = state
                for _ in range(32):
                    _, held = mixer(x, held)

        steps[name] = step
    query, keys, values = torch.randn(1, 4, 1, 64), *(torch.randn(1, 4, length, 64) for _ in range(2))

    def preallocated() -> None:
        with torch.inference_mode():
            for _ in range(32):
                F.scaled_dot_product_attention(query, keys, values)

    steps["full, nothing copied, attention alone"] = preallocated
    found = medians(steps, runs)
    print(f"\ndecoding at {length:,} tokens, one layer, milliseconds a token (evictions included) and ratio to full")
    for name, seconds in found.items():
        bare = seconds / found["full, nothing copied, attention alone"]
        print(f"{name:40}{1e3 * seconds / 32:8.3f}{seconds / found['full']:8.3f}   to nothing copied {bare:.3f}")
    for name, spec in (("chunk t^0.5", sparse), ("global 16 t^0.5", best)):
        print(f"{name} holds {spec.growth.count(length):,} slots of {length:,}")


def gpu(runs: int) -> None:
    if not torch.cuda.is_available():
        print("\nGPU: not measured, there is none")
        return
    from l2m_design.model.probes import probed

    device, length = torch.device("cuda"), 65536
    kernels, probes = probed(device)
    print(
        "\n"
        + "\n".join(f"{p.field} by {p.name} in {p.dtype}: {p.reason or 'used'}" for p in probes if p.field == "held")
    )
    query, key, value = (
        torch.randn(1, 16, length, 64, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    )
    from l2m_design.model.eviction import Eviction

    eviction = Eviction(SparseAttention(heads=16, kv_heads=16, head_dim=64, chunk=128, exponent=0.5))

    def full() -> None:
        F.scaled_dot_product_attention(query, key, value, is_causal=True).sum().backward()
        torch.cuda.synchronize()

    def held() -> None:
        kernels.held(query, key, value, eviction.lifetimes(key, None), 128).sum().backward()
        torch.cuda.synchronize()

    found = medians({"full": full, "held": held}, runs)
    print(f"GPU, 65,536 tokens, 16 heads of 64, bf16: full {found['full']:.4f} s, sparse t^0.5 {found['held']:.4f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    tables = {f.__name__: f for f in (layers, growth, competing, passes, decode, gpu)}
    parser.add_argument("--only", nargs="*", default=list(tables))
    arguments = parser.parse_args()
    keep_freed_memory()
    for name in arguments.only:
        tables[name](arguments.runs)


if __name__ == "__main__":
    main()
