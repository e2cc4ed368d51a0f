"""What each mixer type would ask of a GPU, counted on the CPU: limits that are written down, and values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LIMITS = Path(__file__).with_name("operations.yaml")
FAULTS = """
import json, torch
from elsewhere import counted, elsewhere, sent

device = elsewhere()
z = sent(torch.arange(6.0))
with counted() as counts:
    z + torch.ones(6)  # mixed devices
    float(z[1] * 2), z.tolist(), z[z > 2], z.nonzero(), z.cpu()
    n = sent(torch.tensor([1, 2, 3]))
    n.repeat_interleave(n), n.repeat_interleave(n, output_size=6)  # the second waits for nothing
    torch.tensor([1.0], device=device)
    assert (z * torch.tensor(2.0)).device == device  # a number of the CPU is none
print(json.dumps({name: getattr(counts, name) for name in ("operations", "mixes", "waits", "copies")}))
"""


def run(repository: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (repository, repository / "benchmarks")))}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def count(repository: Path, folder: Path, length: int, *words: str) -> dict[str, dict[str, float]]:
    """By mixer type."""
    script, file = str(repository / "benchmarks" / "operations.py"), folder / "counts.json"
    run(repository, script, "--length", str(length), "--json", str(file), *words)
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def counts(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    length = yaml.safe_load(LIMITS.read_text())["length"]
    return count(repository, tmp_path_factory.mktemp("operations"), length, "--small")


def above(limits: dict[str, dict[str, int]], counts: dict[str, dict[str, float]]) -> list[str]:
    assert limits.keys() == counts.keys()
    return [
        f"{name}: {counts[name][what]} {what}, at most {most}"
        for name, limit in limits.items()
        for what, most in limit.items()
        if counts[name][what] > most
    ]


def test_no_mixer_type_asks_more_of_a_gpu_than_is_written_down(counts: dict[str, dict[str, float]]) -> None:
    assert not above(yaml.safe_load(LIMITS.read_text())["types"], counts)


def test_no_mixer_type_asks_more_of_a_gpu_at_long_contexts_than_is_written_down(
    repository: Path, tmp_path: Path
) -> None:
    limits = yaml.safe_load(LIMITS.read_text())["long"]
    found = count(repository, tmp_path, limits["length"], "--shapes", "--only", *limits["types"])
    assert not above(limits["types"], found)


def test_no_tensor_is_made_on_another_device_than_the_model(counts: dict[str, dict[str, float]]) -> None:
    assert {name: found["mixes"] for name, found in counts.items() if found["mixes"]} == {}


def test_what_is_computed_off_the_cpu_has_the_values_of_the_cpu(counts: dict[str, dict[str, float]]) -> None:
    """The forms that only GPUs take, run here."""
    assert {name: found["error"] for name, found in counts.items() if not found["error"] < 1e-4} == {}


def test_the_harness_finds_what_it_is_for(repository: Path) -> None:
    found = json.loads(run(repository, "-c", FAULTS))
    assert sum(found["mixes"].values()) == 1
    assert sum(found["copies"].values()) == 1
    assert sorted(what.split()[0] for what in found["waits"]) == sorted(
        ["_local_scalar_dense", "tolist", "index", "nonzero", "_to_copy", "repeat_interleave"]
    )
    assert found["operations"]["add"] == 1
    assert not {"view", "select", "slice"} & found["operations"].keys()
