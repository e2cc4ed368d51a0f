"""The GPU's part of mixers.py: our layers beside mamba-ssm's module and SDPA, and the training of a 50 M hybrid.

Run on a machine with a GPU: python benchmarks/mixers.py --only gpu. Medians after three calls that are not counted.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from l2m_design.architecture import Architecture, Attention, Mamba2
from l2m_design.model import build
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.probes import probed

CUDA = torch.device("cuda")
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bfloat16, by the makers' data sheets


def seconds(step: Callable[[], object], runs: int) -> float:
    times = []
    for turn in range(runs + 3):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if turn >= 3:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def trained(module: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], object]:
    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = module(x)
        y.float().sum().backward()

    return step


def table(runs: int) -> None:
    kernels, probes = probed(CUDA)
    for probe in probes:
        print(f"{probe.field} by {probe.name}: {'used' if probe.used else probe.reason}")
    _mamba2(runs, kernels)
    _attention(runs, kernels)
    _hybrid(runs, kernels)


def _mamba2(runs: int, kernels) -> None:
    x = torch.randn(4, 8192, 1024, device=CUDA)
    mixer = build_mixer(Mamba2(d_state=128, head_dim=64), 1024, kernels=kernels).to(CUDA)
    ours = seconds(trained(lambda z: mixer(z, mixer.empty(len(z)))[0], x), runs)
    try:
        from mamba_ssm.modules.mamba2 import Mamba2 as Theirs

        peer = seconds(trained(Theirs(1024, d_state=128, headdim=64).to(CUDA), x), runs)
        print(f"mamba2, width 1024, 4 x 8,192: {1e3 * ours:.1f} ms, mamba-ssm {1e3 * peer:.1f} ms, {ours / peer:.2f}")
    except Exception as error:  # whatever keeps the peer from running
        print(f"mamba2, width 1024, 4 x 8,192: {1e3 * ours:.1f} ms; mamba-ssm not measured: {str(error)[:100]}")


def _attention(runs: int, kernels) -> None:
    class Bare(nn.Module):
        """The same projections around torch's own SDPA."""

        def __init__(self, mixer: nn.Module) -> None:
            super().__init__()
            self.mixer = mixer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            new = self.mixer.project(x, self.mixer.empty(len(x)))
            return self.mixer.merge(F.scaled_dot_product_attention(new.query, new.key, new.value, is_causal=True))

    x = torch.randn(4, 8192, 1024, device=CUDA)
    mixer = build_mixer(Attention(heads=16, kv_heads=16, head_dim=64), 1024, kernels=kernels).to(CUDA)
    ours = seconds(trained(lambda z: mixer(z, mixer.empty(len(z)))[0], x), runs)
    peer = seconds(trained(Bare(mixer), x), runs)
    print(f"attention, width 1024, 4 x 8,192: {1e3 * ours:.1f} ms, SDPA {1e3 * peer:.1f} ms, {ours / peer:.2f}")


def _hybrid(runs: int, kernels) -> None:
    mamba = {"kind": "mamba2", "d_state": 128, "head_dim": 64}
    attention = {"kind": "attention", "heads": 8, "kv_heads": 2, "head_dim": 64}
    layers = [mamba, mamba, mamba, attention] * 3
    drawing = Architecture.parse({"vocabulary": 8192, "width": 512, "layers": layers}, "hybrid")
    model = build(drawing, kernels).to(CUDA)
    tokens = torch.randint(0, 8192, (4, 8192), device=CUDA)
    torch.cuda.reset_peak_memory_stats()
    took = seconds(trained(model, tokens), runs)
    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAK_FLOPS.items() if key in name), None)
    rate = 3 * drawing.flops(8192) * 4 / took
    used = f"{rate / peak:.1%} of peak" if peak else "peak unknown"
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(
        f"{drawing.picture}, {drawing.parameters:,} parameters at 8,192 on {name}: {4 * 8192 / took:,.0f} tokens/s, "
        f"{rate / 1e12:.0f} TFLOP/s ({used}), {memory:.1f} GiB"
    )
