"""What `l2m export --json` prints: the files, and what their proof found."""

from typing import TypedDict

from l2m_design.architecture.scaling import Grown
from l2m_design.settings import Json


class Bytes(TypedDict):
    """Of a cache after so many tokens: as held, and as the law says; None where the reader has no cache."""

    tokens: int
    held: int | None
    law: int | None


class Scaled(Grown):
    """What has grown in a scaled architecture, how its class is called, and its verdict."""

    label: str
    verdict: Json | None


class Written(TypedDict):
    """What was written, in which form, and whether it was loaded back."""

    files: list[str]
    format: str
    loads: bool
    max_logit_difference: float | None


class Exported(Written, total=False):
    """What `l2m export --json` prints; of a card no more than Written."""

    cached_difference: float | None
    cache_bytes: Bytes
    proven_by: str
    target: str
    label: str
    tokenizer: str | None
    passed_over: dict[str, str]
    failed: dict[str, str]
    weights: str | None
    scaled: Scaled
    registered: dict[str, str]
