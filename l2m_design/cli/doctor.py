"""`l2m doctor`: check what is installed, what works and what would be used."""

from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import typer

from l2m_design.cli.terminal import Json, print_json, say, table

if TYPE_CHECKING:
    from l2m_design.settings import Json as Plain


class Check(TypedDict):
    """A check, as JSON. needed: is it required to run anything? probe: the measurement of a faster kernel."""

    what: str
    works: bool
    found: str
    needed: bool
    probe: NotRequired["Plain"]


def command(
    gpu: Annotated[
        bool,
        typer.Option("--gpu", help="Also verify the GPU (compiler, Triton, every mixer type) and probe kernels again."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check Python, libraries, devices, caches and tracking. Exit code 1 if something required does not work."""
    checks = [*_libraries(), *_devices(), *_optional(), *_kernels(fresh=gpu), *_storage(), *(_gpu() if gpu else [])]
    broken = [check for check in checks if check["needed"] and not check["works"]]
    if as_json:
        print_json({"checks": checks, "works": not broken})
    else:
        marks = {True: "ok", False: "-"}
        table(
            ["what", "works", "details"],
            [[c["what"], "BROKEN" if c in broken else marks[c["works"]], c["found"]] for c in checks],
        )
        say("Everything required works." if not broken else f"Broken: {', '.join(c['what'] for c in broken)}.")
    raise typer.Exit(1 if broken else 0)


def _check(what: str, works: bool, found: str, needed: bool = True) -> Check:
    return {"what": what, "works": works, "found": found, "needed": needed}


def _libraries() -> list[Check]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from l2m_design import __version__

    checks = [_check("l2m-design", True, f"{__version__} on Python {platform.python_version()}")]
    for name in ("torch", "optuna", "mlflow", "transformers", "scipy", "numpy", "pyarrow", "scikit-learn", "pyppmd"):
        try:
            checks.append(_check(name, True, version(name)))
        except PackageNotFoundError:
            checks.append(_check(name, False, "not installed"))
    return checks


def _devices() -> list[Check]:
    from l2m_design.model.backends import best_device, computes, device_name, unused_gpu

    device = best_device()
    checks = [_check(f"device {device.type}", computes(device), device_name(device))]
    unused = unused_gpu() if device.type == "cpu" else None
    return checks + ([_check("GPU", False, unused)] if unused else [])


def _optional() -> list[Check]:
    from importlib.util import find_spec

    readers = {"datasets": "hf: corpora", "gguf": "models in .gguf files", "accelerate": "models in .gguf files"}
    return [
        _check(f"{name} (optional)", bool(found := find_spec(name)), f"{_word(found)}: {serves}", False)
        for name, serves in readers.items()
    ]


def _kernels(fresh: bool) -> list[Check]:
    """Faster kernels: installed, loaded, difference from torch, seconds of the first call; and why one is not used.

    fresh: ignore cached probes.
    """
    from l2m_design.model.backends import best_device
    from l2m_design.model.probes import probed

    rows = []
    for probe in probed(best_device(), fresh)[1]:
        measured = ""
        if probe.error is not None:
            measured = f"differs from torch by {probe.error:.1e}, first call {probe.seconds:.1f} s; "
        if probe.speed is not None:
            measured += f"{probe.speed:.2f} times the speed of torch; "
        found = f"{_word(probe.found)}; {measured}{'used' if probe.used else probe.reason + ': torch is used instead'}"
        what = f"{probe.field}, {probe.dtype}, by {probe.name} (optional)"
        rows.append(_check(what, probe.used, found.replace("not installed; not installed", "not installed"), False))
        rows[-1]["probe"] = probe.plain()
    return rows


def _gpu() -> list[Check]:
    """The short form of benchmarks/accept_gpu.py."""
    from l2m_design.model.acceptance import built, judged, machine_checks
    from l2m_design.model.acceptance_values import short_checks
    from l2m_design.model.backends import best_device
    from l2m_design.model.probes import probed
    from l2m_design.nvidia import driver

    device = best_device()
    if device.type != "cuda":
        return [_check("GPU", False, f"no CUDA device works; driver {driver() or 'not found'}, {built()}")]
    rows = judged("GPU", machine_checks(device)) + judged("values", short_checks(device, probed(device)[0]))
    return [_check(f"{r.section}: {r.what}", r.works is not False, r.found, r.works is not None) for r in rows]


def _word(found: object) -> str:
    return "installed" if found else "not installed"


def _storage() -> list[Check]:
    import shutil
    import tempfile

    from l2m_design.corpus.tokens import cache_folder
    from l2m_design.search.tracking.store import default_uri

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / 2**30
        cache = _check("token cache", True, f"{folder}, {free:.0f} GiB free")
    except OSError as error:
        cache = _check("token cache", False, f"{folder}: {error.strerror}; set L2M_CACHE to another folder")
    return [cache, _tracking(default_uri())]


def _tracking(uri: str) -> Check:
    """A sqlite store needs a writable folder; a server is not contacted."""
    import os
    from pathlib import Path

    if not uri.startswith("sqlite:///"):
        return _check("tracking", True, f"{uri} (not contacted)")
    folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
    writable = os.access(folder, os.W_OK)
    return _check("tracking", writable, uri if writable else f"{uri}: {folder} is not writable")
