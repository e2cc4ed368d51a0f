"""Hold a library's kernels against ours on a CPU, in Triton's interpreter. Exit 0 agree, 1 differ, 77 cannot be tried.

Run: python interpreted.py mamba_ssm|fla FOLDER; packages are installed into FOLDER when they are not importable.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import types

os.environ["TRITON_INTERPRET"] = "1"
TOOLS = ["setuptools", "wheel", "ninja", "packaging"]
PACKAGES = {
    "mamba_ssm": {
        "einops": [["einops"]],
        "triton": [["triton"]],
        "mamba_ssm": [TOOLS, ["mamba-ssm", "--no-build-isolation", "--no-deps"]],
    },
    "fla": {"einops": [["einops"]], "triton": [["triton"]], "fla": [["fla-core==0.6.0", "--no-deps"]]},
}


def cannot(reason: str) -> None:
    print(reason)
    sys.exit(77)


def fetch(library: str, folder: str) -> None:
    sys.path.append(folder)
    settings = {
        "MAMBA_FORCE_BUILD": "TRUE",
        "MAMBA_SKIP_CUDA_BUILD": "TRUE",
        "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""),
        "PYTHONPATH": folder,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    install = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", folder]
    for module, commands in PACKAGES[library].items():
        for words in [] if importlib.util.find_spec(module) else commands:
            if subprocess.run([*install, *words], env=os.environ | settings, check=False).returncode:
                cannot(f"{words[0]} could not be installed")


class Driver:
    """What Triton asks of a GPU's driver, for an interpreter that has none."""

    def get_benchmarker(self):
        return lambda call, quantiles=None, **options: (call(), [0.0, 0.0, 0.0])[1]

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=0):
        return 0

    def get_current_target(self):
        return types.SimpleNamespace(backend="cuda", arch=90, warp_size=32)


def small(candidate, device, dtype, scale=1):
    """Inputs that an interpreter can finish."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    if candidate.field == "delta":
        query, key = (torch.nn.functional.normalize(draw(1, 72, 2, 16), dim=-1) for _ in range(2))
        start = draw(1, 2, 16, 16)
        return [([query, key, draw(1, 72, 2, 16), draw(1, 72, 2).sigmoid(), -draw(1, 72, 2).exp(), start], [])]
    if candidate.field == "selective":
        return [([draw(1, 16, 4), draw(1, 16, 4).sigmoid(), -draw(4, 3).exp(), draw(1, 16, 3), draw(1, 16, 3)], [])]
    x, dt, A, start = draw(1, 72, 2, 16), draw(1, 72, 2).sigmoid(), -draw(2).exp(), draw(1, 2, 16, 16)
    return [([x, dt, A, draw(1, 72, 1, 16), draw(1, 72, 1, 16), start], [])]


class Number(int):
    """What a kernel counts with: a tensor when compiled, whose dtype fla sets, and a number when interpreted."""

    def to(self, dtype):
        return self


def load(library):
    """Import the library on a CPU."""
    import torch
    import triton

    torch.cuda.device = lambda *a: contextlib.nullcontext()
    torch.cuda.get_device_properties = lambda *a: types.SimpleNamespace(multi_processor_count=4, name="interpreted")
    torch.cuda.get_device_capability = lambda *a: (8, 0)
    triton.runtime.driver.set_active(Driver())
    if library == "fla":
        for module in ("gated_delta_rule", "simple_gla"):
            importlib.import_module(f"fla.ops.{module}")
        for name, module in list(sys.modules.items()):
            if name.startswith("fla.ops."):
                module.range = lambda *words: map(Number, range(*words))
        return
    sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")  # the CUDA part is not built
    import mamba_ssm.ops.selective_scan_interface as interface

    interface.selective_scan_fn = lambda *a, **options: interface.selective_scan_ref(*a, **options)


def main(library, folder):
    fetch(library, folder)
    try:
        load(library)
    except (ImportError, AttributeError) as error:
        cannot(f"{library} or Triton does not load here: {error}")
    import torch

    from l2m_design.model import probing

    probing.probe_cases = small
    found = [
        list(probing.stages(candidate, torch.device("cpu")))[-1]
        for candidate in probing.CANDIDATES
        if candidate.library == library and candidate.dtype == torch.float32  # no bfloat16 in the interpreter
    ]
    for probe in found:
        print(f"{probe.field} by {probe.name}: error {probe.error}, {probe.seconds} s, {probe.reason or 'agrees'}")
    sys.exit(0 if found and all(probe.used for probe in found) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
