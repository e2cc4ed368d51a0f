"""What training costs beside other work: seconds a step alone and beside a process that keeps every core busy.

Run: python benchmarks/contention.py [--steps 60]. Two ways to use the cores, as a study's `workers` and `threads`: one
process with all threads, and a process a core with one thread each; threads that wait either spin (OpenMP's own way) or
sleep (OMP_WAIT_POLICY=PASSIVE).
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time

CORES = len(os.sched_getaffinity(0))
LAYERS = [
    {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 32, "qk_norm": True, "short_conv": 4},
    {"kind": "mamba2", "d_state": 32, "head_dim": 16, "state_dtype": "float32"},
] * 2


def trained(threads: int, steps: int) -> None:
    """Print the seconds of so many steps of one window of 512 tokens."""
    import torch

    from l2m_design.architecture import Architecture
    from l2m_design.model import build

    torch.set_num_threads(threads)
    model = build(Architecture.parse({"vocabulary": 2048, "width": 96, "layers": LAYERS}, "benchmark"))
    tokens = torch.randint(0, 2048, (1, 513))
    for step in range(steps + 5):
        if step == 5:
            began = time.perf_counter()
        logits = model(tokens[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    print(time.perf_counter() - began)


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


def measure(processes: int, threads: int, waiting: str, steps: int) -> float:
    """Seconds until all processes are through, per step of all of them."""
    env = os.environ | ({"OMP_WAIT_POLICY": waiting} if waiting else {})
    command = [sys.executable, __file__, "--threads", str(threads), "--steps", str(steps)]
    ran = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return max(float(one.communicate()[0]) for one in ran) / steps / processes


def main(steps: int) -> None:
    """One row a way: alone, beside busy cores, and the ratio."""
    print("| processes x threads | waiting threads | ms a step, alone | beside busy cores | ratio |")
    print("|---|---|---|---|---|")
    for processes, threads in ((1, CORES), (CORES, 1)):
        for waiting in ("", "PASSIVE"):
            alone = measure(processes, threads, waiting, steps)
            busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(CORES)]
            for one in busy:
                one.start()
            beside = measure(processes, threads, waiting, steps)
            for one in busy:
                one.kill()
            name = "sleep" if waiting else "spin"
            print(
                f"| {processes} x {threads} | {name} | {1e3 * alone:.0f} | {1e3 * beside:.0f} | {beside / alone:.2f} |"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    if asked.threads:
        trained(asked.threads, asked.steps)
    else:
        main(asked.steps)
