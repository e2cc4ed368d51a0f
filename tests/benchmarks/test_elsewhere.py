"""Training, evaluation and decoding on a device that is not there: the values of the CPU, and no tensor astray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WALK = """
import json, sys
import numpy as np
import torch

torch.inference_mode = torch.no_grad  # before our modules are imported: such tensors reach no device that is not there
from elsewhere import back, counted, elsewhere, moved

from l2m_design.architecture import Architecture
from l2m_design.corpus.base import Documents
from l2m_design.corpus.windows import Windows
from l2m_design.model import build
from l2m_design.model.generate import Sampling, generate
from l2m_design.training.context import late_with_cut_past
from l2m_design.training.evaluate import evaluate
from l2m_design.training.latency import timed_decoding
from l2m_design.training.optimiser import optimiser_of
from l2m_design.training.ranks import Ranks
from l2m_design.training.recipe import Recipe
from l2m_design.training.step import Work, take_step

layers, optimiser = json.loads(sys.argv[1]), sys.argv[2]
recipe = Recipe(length=64, tokens=64 * 4 * 4, batch_tokens=64 * 4, optimiser=optimiser, micro_batch=2, rungs=())
batches = np.random.default_rng(0).integers(0, 32, (3, 4, 65))
document = np.random.default_rng(1).integers(0, 32, 4 * 65)
starts = np.arange(0, 4 * 65, 65)
windows = Windows(Documents(document, np.stack([starts, starts + 65], 1)), 65, np.arange(4), np.zeros(4, int))


def walk(model, device):
    work = Work(model, optimiser_of(model, recipe), recipe, device, Ranks(), 2)
    found = {"loss": [float(take_step(work, batch, step)) for step, batch in enumerate(batches)]}
    found["evaluated"] = float(evaluate(model, windows, device, np.zeros(32)).nats.mean())
    found["cut"] = float(np.mean(late_with_cut_past(model, windows, [16], device)[16]))
    model.eval()
    found["written"] = generate(model, [[1, 2, 3], list(range(20))], 4, device, Sampling(temperature=0.0))
    assert timed_decoding(model, 40, device).milliseconds > 0
    return found


def made():
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 32, "width": 32, "layers": layers}, "walk"))


device, model = elsewhere(), made()  # autograd must know of the device before it first runs
here = walk(made(), torch.device("cpu"))
moved(model)
with counted() as counts:
    there = walk(model, device)
print(json.dumps([here, there, dict(counts.mixes), counts.operations.total()]))
"""
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 16}
MLA = {"kind": "mla", "heads": 2, "head_dim": 16, "latent": 16, "rotary": 8}
MAMBA2 = {"kind": "mamba2", "d_state": 8, "head_dim": 16}
DELTA = {"kind": "gated_deltanet", "heads": 2, "head_dim": 16}
SPARSE = {"kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 16, "exponent": 0.75, "chunk": 8}


@pytest.mark.parametrize(
    ("layers", "optimiser"),
    [
        ([ATTENTION | {"window": 16, "sinks": 2}, MAMBA2, ATTENTION], "muon"),
        ([DELTA, {"kind": "log_linear", "d_state": 8, "head_dim": 16}, {"kind": "mamba1", "d_state": 4}], "adamw"),
        (
            [SPARSE | {"choose": "use", "allocate": "layer"}, SPARSE | {"choose": "value", "allocate": "global"}],
            "adamw",
        ),
    ],
    ids=["windows", "recurrences", "sparse"],
)
def test_what_is_trained_and_read_there_is_that_of_the_cpu(repository: Path, layers: list, optimiser: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (repository, repository / "benchmarks")))}
    command = [sys.executable, "-c", WALK, json.dumps(layers), optimiser]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    here, there, mixes, operations = json.loads(done.stdout)
    assert mixes == {}
    assert operations > 1000
    assert there["loss"] == pytest.approx(here["loss"], rel=1e-4)
    assert there["evaluated"] == pytest.approx(here["evaluated"], rel=1e-4)
    assert there["cut"] == pytest.approx(here["cut"], rel=1e-4)
    assert there["written"] == here["written"]
