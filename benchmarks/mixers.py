"""Time of one layer, forward and backward, by length: full attention, window, sparse keys, Mamba-2.

Run: python benchmarks/mixers.py [--lengths 2048 8192] [--runs 5]. Medians of interleaved runs, both sides in one
process, 2 threads; ratios against full attention (torch's causal SDPA) at the same length.
"""

import argparse
import statistics
import time

import torch

from l2m_design.architecture import Attention, Mamba2, SparseAttention
from l2m_design.model.language import build_mixer

WIDTH = 256
HEADS = {"heads": 4, "kv_heads": 4, "head_dim": 64}
MIXERS = {
    "full attention": Attention(**HEADS),
    "window 512": Attention(**HEADS, window=512),
    "sparse t^0.5": SparseAttention(**HEADS, chunk=64, exponent=0.5),
    "sparse t^0.75": SparseAttention(**HEADS, chunk=64, exponent=0.75),
    "mamba2 n=64": Mamba2(d_state=64, head_dim=64),
}


def once(mixer: torch.nn.Module, x: torch.Tensor) -> float:
    began = time.perf_counter()
    y, _ = mixer(x, mixer.empty(len(x)))
    y.sum().backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    built = {name: build_mixer(spec, WIDTH) for name, spec in MIXERS.items()}
    print(f"{'layer':16}" + "".join(f"{length:>12,} ms  ratio" for length in arguments.lengths))
    columns = []
    for length in arguments.lengths:
        x = torch.randn(1, length, WIDTH)
        runs: dict[str, list[float]] = {name: [] for name in built}
        for turn in range(arguments.runs + 1):
            for name, mixer in built.items():
                seconds = once(mixer, x)
                if turn:
                    runs[name].append(seconds)
        columns.append({name: statistics.median(times) for name, times in runs.items()})
    for name in built:
        cells = [f"{1000 * c[name]:12.0f} {c[name] / c['full attention']:8.2f}" for c in columns]
        print(f"{name:16}" + "  ".join(cells))


if __name__ == "__main__":
    main()
