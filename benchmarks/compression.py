"""Time and memory of `l2m estimate FILE`, by compression: 10 MB and 2 GB of text.

Run: python benchmarks/compression.py [--gigabytes 2]. Each file is one document of the standard library's source,
repeated with its lines shuffled, measured by a process of its own from an empty cache. Printed: seconds and peak
resident memory, beside those of importing alone.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from l2m_design.corpus import open_corpus


def run(words: list[str], cache: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a process."""
    began = time.perf_counter()
    child = subprocess.Popen(words, env=os.environ | {"L2M_CACHE": str(cache)}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def write(path: Path, size: int) -> None:
    """Shuffled lines of the standard library until `size` bytes."""
    lines = b"".join(bytes(d) for d in open_corpus("stdlib").all_documents).splitlines(keepends=True)
    with path.open("wb") as file:
        while file.tell() < size:
            random.Random(file.tell()).shuffle(lines)
            block = b"".join(lines)
            file.write(block[: block.rfind(b"\n", 0, size - file.tell()) + 1] or b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    options = parser.parse_args()
    l2m = [sys.executable, "-m", "l2m_design", "estimate"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        print("| file | seconds | peak MiB |\n|---|---|---|")
        seconds, peak = run([*l2m, "iid:documents=10", "--dry-run"], folder / "none")
        print(f"| none (a dry run) | {seconds:.1f} | {peak:.0f} |")
        for name, size in (("10 MB", 10**7), (f"{options.gigabytes:g} GB", int(options.gigabytes * 1e9))):
            write(folder / "text.txt", size)
            seconds, peak = run([*l2m, str(folder / "text.txt")], folder / name.replace(" ", ""))
            print(f"| {name} | {seconds:.1f} | {peak:.0f} |", flush=True)
        documents = open_corpus("stdlib").all_documents
        seconds, peak = run([*l2m, "stdlib"], folder / "stdlib")
        print(f"| stdlib, {documents.size / 1e6:.1f} MB, {len(documents)} documents | {seconds:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
