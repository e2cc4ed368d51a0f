"""Six novels of Jane Austen as one record a chapter, from the Debian package r-cran-janeaustenr: data for novels.yaml.

Run: python benchmarks/novels.py [runs/corpora], then l2m search benchmarks/novels.yaml. The package keeps
the lines of each novel as an R object; chapters begin where a line says so. Nothing is downloaded again.
"""

import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE, INSIDE = "r-cran-janeaustenr", "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
STRING = re.compile(rb"\x00\x04\x00\x09(....)", re.DOTALL)  # R's XDR form of a string: flags, then its length
CHAPTER = re.compile(r"^\s*(volume [ivx\d]+,?\s*)?chapter [ivxlc\d]+\.?\s*$", re.IGNORECASE)
FEWEST_LETTERS = 2000


def novels(path: Path) -> Iterator[list[str]]:
    """The lines of each novel: a file of records, each its size (4 bytes) and a zlib stream."""
    left = path.read_bytes()
    while left:
        stream = zlib.decompressobj()
        record, left = stream.decompress(left[4:]), stream.unused_data
        lines, at = [], 0
        while found := STRING.search(record, at):
            (long,) = struct.unpack(">i", found[1])
            at = found.end() + max(0, long)
            lines.append(record[found.end() : at].decode("utf-8", "replace"))
        if len(lines) > FEWEST_LETTERS:
            yield lines


def chapters(lines: list[str]) -> list[str]:
    """The text of each chapter, without the head of the book."""
    starts = [number for number, line in enumerate(lines) if CHAPTER.match(line)]
    texts = ["\n".join(lines[a:b]) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    return [text for text in texts if len(text) >= FEWEST_LETTERS]


def main(folder: Path) -> None:
    """Write folder/novels.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(f"{PACKAGE}_*.deb")):
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
    subprocess.run(["dpkg", "-x", next(folder.glob(f"{PACKAGE}_*.deb")).name, PACKAGE], cwd=folder, check=True)
    found = [text for lines in novels(folder / PACKAGE / INSIDE) for text in chapters(lines)]
    (folder / "novels.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in found))
    print(f"{len(found)} chapters, {sum(map(len, found)):,} letters in {folder / 'novels.jsonl'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/corpora"))
