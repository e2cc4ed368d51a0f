"""Placing: a folder is written beside its place and moved there whole, so that none is ever half-overwritten."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l2m_design.corpus.tokenizers import TOKENIZER_FILES
from l2m_design.errors import BadInput

MODEL_FILES = (
    "model*.safetensors",
    "pytorch_model*.bin",
    "config.json",
    "generation_config.json",
    "*_l2m.py",
    "l2m_*.py",
    "cache_rule.safetensors",
    "cache_plan.json",
    *TOKENIZER_FILES,
)
MARKS = ("architecture.yaml", "card.json", "cache_rule.safetensors", "cache_plan.json")  # each export holds one of them


@contextmanager
def placed(out: Path, force: bool, replaces: tuple[str, ...] = ()) -> Iterator[Path]:
    """A fresh folder to write in, which takes the place of `out` when the block ends well and is gone otherwise.

    With `force`, files that are written again or fit a pattern of `replaces` are replaced; whatever else is in `out`
    stays. Raises BadInput when `out` holds files without `force` or is no export, or is no place for a folder.
    """
    place = check_place(out, force)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    except OSError as error:
        raise BadInput(f"{out}: {error.strerror or error}") from None
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        _swap(staging, place, replaces)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_place(out: Path, force: bool) -> Path:
    """Where `out` is. Raises BadInput as `placed` does; for work that takes long before anything is written."""
    place = out.resolve()
    if place.exists() and not place.is_dir():
        raise BadInput(f"{out}: is not a folder; give another `out`")
    try:
        filled = place.is_dir() and any(place.iterdir())
    except OSError as error:
        raise BadInput(f"{out}: {error.strerror or error}") from None
    if filled and not force:
        raise BadInput(f"{out}: already contains files; give `force`, or another `out`")
    if place in (Path.cwd(), *Path.cwd().parents):
        raise BadInput(f"{out}: is the current folder or a parent of it; give another folder")
    if filled and not any((place / mark).is_file() for mark in MARKS):
        raise BadInput(f"{out}: contains files but no export (no {' or '.join(MARKS)}); `force` replaces exports only")
    return place


def _swap(staging: Path, place: Path, replaces: tuple[str, ...]) -> None:
    """Put the new folder in its place, with what the old one held besides."""
    if not place.exists():
        staging.rename(place)
        return
    for path in list(place.iterdir()):
        if not (staging / path.name).exists() and not any(path.match(pattern) for pattern in replaces):
            _copy(path, staging / path.name)
    old = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.old.")) / place.name
    place.rename(old)
    try:
        staging.rename(place)
    except BaseException:
        old.rename(place)
        raise
    shutil.rmtree(old.parent, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _copy(path: Path, to: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, to, symlinks=True)
    else:
        shutil.copy2(path, to, follow_symlinks=False)
