"""Hold mamba-ssm's kernels against ours on a CPU, in Triton's interpreter. Exit 0 agree, 1 differ, 77 cannot be tried.

Run: python interpreted.py FOLDER; the packages are installed into FOLDER when they are not importable.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import types

os.environ["TRITON_INTERPRET"] = "1"
PACKAGES = {"einops": [], "triton": [], "mamba_ssm": ["--no-build-isolation", "--no-deps"]}


def cannot(reason: str) -> None:
    print(reason)
    sys.exit(77)


def fetch(folder: str) -> None:
    sys.path.append(folder)
    settings = {
        "MAMBA_FORCE_BUILD": "TRUE",
        "MAMBA_SKIP_CUDA_BUILD": "TRUE",
        "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""),
        "PYTHONPATH": folder,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    install = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", folder]
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    tools = [["setuptools", "wheel", "ninja", "packaging"]] if "mamba_ssm" in missing else []
    for packages in [*tools, *([package.replace("_", "-"), *PACKAGES[package]] for package in missing)]:
        if subprocess.run([*install, *packages], env=os.environ | settings, check=False).returncode:
            cannot(f"{packages[0]} could not be installed")


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

    if candidate.field == "selective":
        return [([draw(1, 16, 4), draw(1, 16, 4).sigmoid(), -draw(4, 3).exp(), draw(1, 16, 3), draw(1, 16, 3)], [])]
    x, dt, A, start = draw(1, 72, 2, 16), draw(1, 72, 2).sigmoid(), -draw(2).exp(), draw(1, 2, 16, 16)
    return [([x, dt, A, draw(1, 72, 1, 16), draw(1, 72, 1, 16), start], [])]


def main() -> None:
    fetch(sys.argv[1])
    import torch

    sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")  # the CUDA part is not built
    torch.cuda.device = lambda *a: contextlib.nullcontext()
    torch.cuda.get_device_properties = lambda *a: types.SimpleNamespace(multi_processor_count=4)
    try:
        import triton

        triton.runtime.driver.set_active(Driver())
        import mamba_ssm.ops.selective_scan_interface as interface
    except (ImportError, AttributeError) as error:
        cannot(f"mamba-ssm or Triton does not load here: {error}")
    interface.selective_scan_fn = lambda *a, **options: interface.selective_scan_ref(*a, **options)
    from l2m_design.model import probing

    probing.probe_cases = small
    found = [
        list(probing.stages(candidate, torch.device("cpu")))[-1]
        for candidate in probing.CANDIDATES
        if candidate.library == "mamba_ssm" and candidate.dtype == torch.float32  # no bfloat16 in the interpreter
    ]
    for probe in found:
        print(f"{probe.field} by {probe.name}: error {probe.error}, {probe.seconds} s, {probe.reason or 'agrees'}")
    sys.exit(0 if found and all(probe.used for probe in found) else 1)


if __name__ == "__main__":
    main()
