"""How long copies take to find, and how much memory: in a gigabyte of text, and among short documents.

    python benchmarks/copies.py --megabytes 1000 --bytes-a-document 10000
    python benchmarks/copies.py --megabytes 600 --bytes-a-document 1000

Text is the running Python's standard library, cut into stretches of words; one document in ten repeats an earlier one,
one in ten with a word in a hundred changed. MinHash libraries are compared on the same shingles, if they are there.
"""

import argparse
import re
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from l2m_design.corpus.copies import SIGNATURE, find_copies


def stdlib_words() -> list[bytes]:
    root = Path(sysconfig.get_path("stdlib"))
    return b" ".join(path.read_bytes() for path in sorted(root.glob("*.py"))).split()


def written(path: Path, size: int, each: int) -> tuple[np.ndarray, int, int]:
    """Ends of the documents, and how many are copies and near copies."""
    rng, words = np.random.default_rng(0), np.array(stdlib_words(), dtype=object)
    ends, equal, near, place = [], 0, 0, 0
    earlier: list[list[bytes]] = []
    with path.open("wb") as file:
        while place < size:
            draw = rng.random() if earlier else 1.0
            if draw < 0.2:
                text = list(earlier[rng.integers(len(earlier))])
                if draw < 0.1:
                    equal += 1
                else:
                    near += 1
                    for spot in rng.integers(0, len(text), max(1, len(text) // 100)):
                        text[spot] = words[rng.integers(len(words))]
            else:  # stretches of eight words in random order: long documents of one small library are not alike
                starts = rng.integers(0, len(words) - 8, max(1, each // 64))
                text = words[(starts[:, None] + np.arange(8)).ravel()].tolist()
                if len(earlier) < 5000:
                    earlier.append(text)
            place += file.write(b" ".join(text))
            ends.append(place)
    return np.array(ends), equal, near


def anonymous() -> float:
    """MiB of this process' memory that is no file's."""
    return int(re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024


def timed(what: str, work: Callable[[], Any]) -> Any:
    done, peak, before = threading.Event(), [0.0], anonymous()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    spent = f"{time.process_time() - cpu:8.1f} s CPU {time.perf_counter() - wall:8.1f} s wall"
    done.set()
    watcher.join()
    print(f"{what:30} {spent} {peak[0]:8.0f} MiB more at most", flush=True)
    return found


def libraries() -> None:
    """Signatures of 2.5 million shingles in 500 documents."""
    shingles = np.random.default_rng(0).integers(0, 1 << 32, size=(500, 5000), dtype=np.uint64)
    edges = np.arange(len(shingles) + 1) * shingles.shape[1]
    try:
        from rensa import RMinHash

        timed(
            "rensa, 2.5 M shingles",
            lambda: RMinHash.digest_matrix_from_flat_token_hashes(shingles.ravel(), edges, SIGNATURE, 1).to_rows(),
        )
    except ImportError:
        print("rensa is not installed")
    try:
        from datasketch import MinHash

        def sketches() -> None:
            for row in shingles.astype(np.uint32):
                MinHash(SIGNATURE, hashfunc=int).update_batch(row)

        timed("datasketch, 2.5 M shingles", sketches)
    except ImportError:
        print("datasketch is not installed")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--megabytes", type=int, default=1000)
    asked.add_argument("--bytes-a-document", type=int, default=10_000)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.bin"
        ends, equal, near = timed(
            "text written", lambda: written(path, given.megabytes * 10**6, given.bytes_a_document)
        )
        tokens, alone = np.memmap(path, dtype=np.uint8, mode="r"), np.zeros(len(ends), dtype=bool)
        found = timed("copies found", lambda: find_copies(tokens, ends, 256, True, True, alone))
        copies, same = int(found.is_copy.sum()), int(found.is_equal.sum())
        print(
            f"{len(tokens) / 1e6:,.0f} MB in {len(ends):,} documents; made: {equal:,} equal, {near:,} near; "
            f"found: {same:,} equal, {copies - same:,} near"
        )
    libraries()


if __name__ == "__main__":
    main()
