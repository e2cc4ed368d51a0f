"""Time and memory of the mixers, forward and backward, beside their peers. Prints a table for each question.

Run: python benchmarks/mixers.py [--only layers mamba2 delta window flat gpu] [--runs 5]. Medians of interleaved runs,
all sides in one process, 2 threads; peak memory of each side in a process of its own. About 15 minutes on two cores.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from timing import Step, medians
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture import (
    Attention,
    CheckpointedSSM,
    GatedDeltaNet,
    LatentAttention,
    LogLinear,
    Mamba1,
    Mamba2,
    SparseAttention,
)
from l2m_design.model.backends import keep_freed_memory
from l2m_design.model.banded import banded_attention
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.mixer import RMSNorm

WIDTH, LAYERS, BATCH = 256, 4, 4
HEADS = {"heads": 4, "kv_heads": 4, "head_dim": 64}
MAMBA2 = Mamba2(d_state=128, head_dim=64)
DELTA = GatedDeltaNet(heads=4, head_dim=64, value_expand=2)
MIXERS = {
    "full attention": Attention(**HEADS),
    "window 512": Attention(**HEADS, window=512),
    "window 512, 16 sinks": Attention(**HEADS, window=512, sinks=16),
    "mla rank 128": LatentAttention(heads=4, head_dim=64, kv_rank=128, rope_dim=32),
    "sparse t^0.5": SparseAttention(**HEADS, chunk=64, exponent=0.5),
    "sparse t^0.75": SparseAttention(**HEADS, chunk=64, exponent=0.75),
    "mamba1 n=16": Mamba1(d_state=16),
    "mamba2 n=128": MAMBA2,
    "gated_deltanet": DELTA,
    "log_linear n=64": LogLinear(d_state=64, head_dim=64),
    "checkpointed t^0.5 n=64": CheckpointedSSM(d_state=64, head_dim=64, exponent=0.5),
}


class Stack(nn.Module):
    """Residual layers of norm and mixer: what transformers calls a block."""

    def __init__(self, spec: Mamba2 | GatedDeltaNet) -> None:
        super().__init__()
        self.norms = nn.ModuleList(RMSNorm(WIDTH) for _ in range(LAYERS))
        self.mixers = nn.ModuleList(build_mixer(spec, WIDTH) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x), mixer.empty(len(x)))[0]
        return x


def their_mamba2(chunk: int) -> nn.Module:
    """transformers' torch path of the same four layers."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Block

    config = Mamba2Config(
        hidden_size=WIDTH, num_heads=8, head_dim=64, state_size=128, n_groups=1, expand=2, conv_kernel=4,
        chunk_size=chunk, num_hidden_layers=LAYERS, vocab_size=32,
    )  # fmt: skip
    return nn.Sequential(*(Mamba2Block(config, layer_idx=layer) for layer in range(LAYERS)))


def their_delta() -> nn.Module:
    """transformers' torch path of one gated DeltaNet layer (Qwen3-Next)."""
    from transformers import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    config = Qwen3NextConfig(
        hidden_size=WIDTH, linear_num_key_heads=4, linear_num_value_heads=4, linear_key_head_dim=64,
        linear_value_head_dim=128, linear_conv_kernel_dim=4, num_hidden_layers=1, vocab_size=32,
    )  # fmt: skip
    return Qwen3NextGatedDeltaNet(config, layer_idx=0)


def pass_through(module: nn.Module, x: Tensor) -> Step:
    def step() -> None:
        y = module(x, module.empty(len(x)))[0] if hasattr(module, "empty") else module(x)
        y.sum().backward()

    return step


def matrix_rate(runs: int) -> float:
    """Floating-point operations a second of a large matrix product."""
    a, b = torch.randn(2, 2048, 2048)
    return 2 * 2048**3 / medians({"product": lambda: a @ b}, runs)["product"]


def layers(runs: int) -> None:
    lengths = [2048, 8192]
    print("\none layer, batch 1, forward and backward; ratio to full attention (torch's causal SDPA)")
    print(f"{'layer':24}" + "".join(f"{length:>12,} ms   ratio" for length in lengths))
    built = {name: build_mixer(spec, WIDTH) for name, spec in MIXERS.items()}
    columns = []
    for length in lengths:
        x = torch.randn(1, length, WIDTH)
        columns.append(medians({name: pass_through(mixer, x) for name, mixer in built.items()}, runs))
    for name in built:
        cells = [f"{1000 * c[name]:12.0f} {c[name] / c['full attention']:10.2f}" for c in columns]
        print(f"{name:24}" + "".join(cells))


def mamba2(runs: int) -> None:
    print(f"\nmamba2: {LAYERS} layers, width {WIDTH}, d_state 128, batch {BATCH}; beside transformers' torch path")
    rate = matrix_rate(runs)
    for length in (2048, 4096):
        x = torch.randn(BATCH, length, WIDTH)
        sides = {"ours": Stack(MAMBA2), "theirs, 256": their_mamba2(256), "theirs, 64": their_mamba2(64)}
        seconds = medians({name: pass_through(side, x) for name, side in sides.items()}, runs)
        memory = {name: peak_memory(name, length) for name in sides}
        for name in sides:
            shares = f"time ours/this {seconds['ours'] / seconds[name]:.2f}"
            shares += f"  memory ours/this {memory['ours'] / memory[name]:.2f}"
            print(f"{length:6,}  {name:12} {seconds[name]:7.2f} s  {memory[name]:6.0f} MB  {shares}")
        flops = 3 * MAMBA2.flops(WIDTH, length) * BATCH * LAYERS
        reached = flops / seconds["ours"]
        print(f"{length:6,}  {reached / 1e9:.0f} GFLOP/s, {reached / rate:.0%} of a 2048^3 product's {rate / 1e9:.0f}")


def delta(runs: int) -> None:
    print("\ngated_deltanet: one layer; beside transformers' torch path of Qwen3-Next")
    ours, theirs = build_mixer(DELTA, WIDTH), their_delta()
    for batch, length in ((1, 1024), (1, 2048), (1, 4096), (BATCH, 4096)):
        x = torch.randn(batch, length, WIDTH)
        seconds = medians({"ours": pass_through(ours, x), "theirs": pass_through(theirs, x)}, runs)
        print(
            f"{batch} x {length:5,}  ours {1000 * seconds['ours']:7.0f} ms  theirs {1000 * seconds['theirs']:7.0f} ms"
            f"  ours/theirs {seconds['ours'] / seconds['theirs']:.3f}"
        )


def window(runs: int) -> None:
    print("\nwindow 512 at 16,384 tokens, 4 heads of 64; beside torch's causal SDPA")
    shape = (1, 4, 16384, 64)
    query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))
    dy, x = torch.randn(shape), torch.randn(1, 16384, WIDTH)
    full, near = (build_mixer(MIXERS[name], WIDTH) for name in ("full attention", "window 512"))
    steps = {
        "full": lambda: F.scaled_dot_product_attention(query, key, value, is_causal=True).backward(dy),
        "band": lambda: banded_attention(query, key, value, 512).backward(dy),
        "full layer": pass_through(full, x),
        "window layer": pass_through(near, x),
    }
    seconds = medians(steps, runs)
    print(f"attention alone {1000 * seconds['band']:.0f} / {1000 * seconds['full']:.0f} ms", end="")
    print(f" = {seconds['band'] / seconds['full']:.3f}; whole layer ", end="")
    print(f"{1000 * seconds['window layer']:.0f} / {1000 * seconds['full layer']:.0f} ms", end="")
    print(f" = {seconds['window layer'] / seconds['full layer']:.3f}")


def flat(runs: int) -> None:
    print("\ncost of a token at 16,384 over its cost at 2,048, batch 1")
    for name, spec in {"mamba2 n=128": MAMBA2, "gated_deltanet": DELTA, "window 512": MIXERS["window 512"]}.items():
        mixer = build_mixer(spec, WIDTH)
        steps = {length: pass_through(mixer, torch.randn(1, length, WIDTH)) for length in (2048, 16384)}
        seconds = medians({str(length): step for length, step in steps.items()}, 2 * runs)
        print(f"{name:16} {seconds['16384'] / 8 / seconds['2048']:.2f}")


def gpu(runs: int) -> None:
    """mamba2 beside mamba-ssm's module, attention beside SDPA, and a 50M hybrid at 8k, where there is a GPU."""
    print("\nGPU: mamba2 beside mamba-ssm, attention beside SDPA, tokens/s of a 50 M hybrid at 8,192")
    if not torch.cuda.is_available():
        print("not measured: no GPU here")
        return
    from gpu import table

    table(runs)


def peak_memory(side: str, length: int) -> float:
    """MB that one forward and backward pass adds to a fresh process."""
    command = [sys.executable, __file__, "--memory", side, str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory_of(side: str, length: int) -> None:
    """Print what peak_memory reads."""
    keep_freed_memory()
    made = Stack(MAMBA2) if side == "ours" else their_mamba2(int(side.split()[-1]))
    pass_through(made, torch.randn(1, 64, WIDTH))()
    x = torch.randn(BATCH, length, WIDTH)
    before = resident("VmRSS")
    pass_through(made, x)()
    print((resident("VmHWM") - before) / 1024)


def resident(field: str) -> int:
    """kB of this process now (VmRSS) or at its peak (VmHWM), without what it was before it was this program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    questions = {"layers": layers, "mamba2": mamba2, "delta": delta, "window": window, "flat": flat, "gpu": gpu}
    parser.add_argument("--only", nargs="*", default=list(questions), choices=list(questions))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", nargs=2, metavar=("SIDE", "LENGTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    if arguments.memory:
        memory_of(arguments.memory[0], int(arguments.memory[1]))
        return
    keep_freed_memory()
    for question in arguments.only:
        questions[question](arguments.runs)


if __name__ == "__main__":
    main()
