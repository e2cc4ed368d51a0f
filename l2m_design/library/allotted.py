"""The bytes that a server allocates for the states of a model: runtime llama.cpp, and vLLM with its memory pages."""

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from l2m_design.architecture.readers import Allotment
    from l2m_design.laws import Dtypes, StateLaw

FORMATS = {
    "llama.cpp": ("float32", "bfloat16", "float16", "q8_0", "q4_0"),
    "vllm": ("float32", "bfloat16", "float16", "float8", "int8"),
}
OF_LLAMA_CPP = ("q8_0", "q4_0")
SERVERS = {"llama.cpp": "llama.cpp", "vllm": "vLLM"}
NOTES = {
    None: "Bytes are nominal: servers allocate more, since they pad memory pages and give all layers of a hybrid pages "
    "of equal size. `runtime` vllm with `paged`, and `runtime` llama.cpp, count the allocated bytes.",
    "vllm": "Counted for vLLM on one GPU with prefix caching, its default. Not counted: tensor parallel ranks, "
    "speculative tokens, prompt chunks that windowed layers store while they are read, and caches kept between "
    "requests.",
    "llama.cpp": "Counted for llama.cpp with separate sequences and micro-batches of 512 tokens, its defaults. Not "
    "counted: --kv-unified, --swa-full, draft models and context checkpoints.",
}


class Allotted(TypedDict):
    """The bytes that a server allocates, as JSON. nominal_bytes: of the states alone. groups: see readers.Allotment."""

    bytes: int
    block_tokens: int | None
    page_bytes: int | None
    groups: list[dict[str, object]]
    server: str
    batch: int
    nominal_bytes: int
    why: str


def allots(runtime: str | None, paged: bool) -> bool:
    """Are the allocated bytes of a server counted? Raises BadInput for pages of a runtime without pages."""
    from l2m_design.errors import BadInput

    if paged and runtime != "vllm":
        raise BadInput("`paged`: only vLLM has pages; give `runtime` vllm too")
    return paged or runtime == "llama.cpp"


def cache_dtype(runtime: str | None, dtype: str, given: str | None) -> str | None:
    """Return the dtype of the KV cache if it is given or the runtime has its own. Raises BadInput if the server does
    not support it.
    """
    from l2m_design.errors import BadInput
    from l2m_design.laws import CACHE_ONLY

    if runtime not in FORMATS:
        return given
    cache = given or (dtype if dtype in CACHE_ONLY else "float16" if runtime == "llama.cpp" else None)
    if cache in CACHE_ONLY and cache not in FORMATS[runtime]:
        allowed = ", ".join(FORMATS[runtime])
        raise BadInput(f"`kv_dtype`: {SERVERS[runtime]} has no KV cache in {cache}; allowed: {allowed}")
    return cache


def check_format(runtime: str, cache: str | None) -> None:
    """Raises BadInput for a data type of llama.cpp if the state is counted for another runtime."""
    from l2m_design.errors import BadInput

    if cache in OF_LLAMA_CPP and runtime not in ("llama.cpp", "ideal"):
        raise BadInput(
            f"`kv_dtype`: {cache} is a format of llama.cpp, but the state is counted for {runtime}; give "
            f"`runtime` llama.cpp, or one of {', '.join(FORMATS['vllm'])}"
        )


def allotted(
    found: "Allotment", runtime: str, state: "StateLaw", length: int, dtypes: "Dtypes", batch: int
) -> Allotted:
    """Return the allocated and the nominal bytes of `batch` sequences of `length` tokens."""
    groups = [
        {"of": group.of, "layers": group.layers, "slots": group.slots, "padding": group.padding, "bytes": group.bytes}
        for group in found.groups
    ]
    return {
        "bytes": found.bytes,
        "block_tokens": found.block,
        "page_bytes": found.page,
        "groups": groups,
        "server": SERVERS[runtime],
        "batch": batch,
        "nominal_bytes": batch * state.bytes(length, dtypes),
        "why": found.why,
    }


def in_words(plain: Allotted) -> str:
    """Return a sentence: both amounts, and the reason for the difference."""
    from l2m_design.report.words import size

    nominal, total, batch = plain["nominal_bytes"], plain["bytes"], plain["batch"]
    of = f" for {batch:,} sequences" if batch > 1 else ""
    more = f"{total / nominal - 1:.1%} more" if 0 < nominal < total else "no more"
    return f"{plain['server']} allocates {size(total)}{of}; nominal are {size(nominal)} ({more}): {plain['why']}."
