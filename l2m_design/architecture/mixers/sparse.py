"""Sparse attention: two chunks are read whole, and of older tokens as many as a schedule says, chosen by worth."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from l2m_design.architecture.mixers.attention import HeadMixer
from l2m_design.architecture.mixers.base import Count
from l2m_design.architecture.schedules import RECORD, ChunkSchedule, GlobalBudget, PowerSchedule, WindowSchedule
from l2m_design.laws import Fixed, StateLaw, StateTerm
from l2m_design.settings import Json

Choice = Literal["spread", "learned", "surprise", "value", "key_norm", "attention_mass", "recency", "use"]
Schedule = Literal["power", "log", "window", "sinks+window"]

RANKED_IN_CHUNKS = ("spread", "learned", "key_norm")
SURPRISED = ("surprise", "value")
TAUGHT = ("learned", "value")
VALUE_HIDDEN = 64  # channels of the layer that predicts a token's use
UNSCORED = {"chunk": ("spread", "key_norm"), "global": ("key_norm", "recency")}


class SparseAttention(HeadMixer):
    """Attention over a thinned past: own and previous chunk whole, and older tokens by a budget (see schedules).

    chunk: tokens of a chunk, a power of two. schedule: how many old tokens are cached; `power` grows as t^exponent,
    `log` with ln t, `window` and `sinks+window` are a fixed number. exponent: of the power. keep: factor of power and
    log. window: old tokens of the fixed schedules. sinks: first tokens that stay, among (`global`) or beside (`chunk`)
    those of the window. allocate: `chunk` gives every chunk its own number of slots by its age, so that slots do not
    depend on the data; `global` keeps the best of all old tokens; with `layer` the kv heads compete for the slots of
    the layer, so that each holds as many as it needs, and all together exactly kv_heads times the budget. choose:
    which old tokens; `spread` evenly; `learned`, by a score of key and value that also weighs the reads; `surprise`,
    -ln q(token) under the model; `value`, predicted use times surprise; `use`, the attention that a token will still
    receive, predicted from its key and value, its age and what it has received, with a set of slots for each kv head
    (allocate: global or layer). Published choices are `key_norm`, small keys (arXiv 2406.11430), `attention_mass`,
    attention received so far (H2O, arXiv 2306.14048), and `recency`, the last tokens (as StreamingLLM keeps them, but
    at their positions in the text).
    """

    kind: Literal["sparse_attention"] = "sparse_attention"
    chunk: Annotated[int, Field(ge=2, le=65536)]
    schedule: Schedule = "power"
    exponent: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    keep: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    window: Count | None = None
    sinks: Annotated[int, Field(ge=0, le=65536)] = 0
    allocate: Literal["chunk", "global", "layer"] = "chunk"
    choose: Choice = "spread"

    @model_validator(mode="after")
    def _budget_is_whole(self) -> Self:
        if self.chunk & (self.chunk - 1):
            raise ValueError(f"chunk ({self.chunk}) must be a power of two")
        fixed = self.schedule in ("window", "sinks+window")
        for name, needed in (("exponent", self.schedule == "power"), ("window", fixed)):
            given = getattr(self, name) is not None
            if needed and not given:
                raise ValueError(f"{name}: field required by schedule: {self.schedule}")
            if given and not needed:
                raise ValueError(f"{name} ({getattr(self, name)}): not for schedule: {self.schedule}; leave it out")
        if fixed and self.keep != 1.0:
            raise ValueError(
                f"keep ({self.keep}): the schedule {self.schedule} keeps `window` old tokens; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _choice_suits(self) -> Self:
        if self.allocate == "layer" and self.choose != "use":
            raise ValueError(f"allocate (layer): needs choose: use, found {self.choose}; others go by allocate: global")
        if self.allocate == "chunk":
            if self.choose not in RANKED_IN_CHUNKS:
                needed = "global or layer" if self.choose == "use" else "global"
                offered = ", ".join(RANKED_IN_CHUNKS)
                raise ValueError(f"choose ({self.choose}): needs allocate: {needed}; chunks: {offered}")
            if self.window is not None and self.window % self.chunk:
                raise ValueError(
                    f"window ({self.window}) must be a multiple of chunk ({self.chunk}) with allocate: chunk"
                )
            if self.window is not None and self.choose != "spread":
                raise ValueError(f"choose ({self.choose}): a window of whole chunks leaves nothing to choose; spread")
        if self.schedule == "sinks+window" and not self.sinks:
            raise ValueError("sinks: at least 1 with the schedule sinks+window")
        if self.sinks and self.schedule != "sinks+window" and self.allocate == "chunk":
            raise ValueError(f"sinks ({self.sinks}): with allocate: chunk only in the schedule sinks+window")
        return self

    @property
    def growth(self) -> ChunkSchedule | GlobalBudget:
        """How many tokens are held after t."""
        if self.allocate != "chunk":
            law: Any = self.schedule if self.window is None else "fixed"
            return GlobalBudget(self.chunk, law, self.exponent or 0.0, self.keep, self.window or 0, self.sinks)
        if self.window is not None:
            return WindowSchedule(self.chunk, self.window, self.sinks)
        return PowerSchedule(self.chunk, self.exponent or 0.0, self.keep)

    @property
    def score_heads(self) -> int:
        """Scores held with each slot: none where order says it all, one for the model's, else one a kv head."""
        if self.choose == "use":
            return RECORD * self.kv_heads
        if self.choose in UNSCORED[self.allocate]:
            return 0
        return 1 if self.choose in ("spread", "surprise") else self.kv_heads

    @property
    def lends(self) -> bool:
        """See KeyValueMixer: slots that go by this layer's own reads are of no use to another."""
        return self.choose not in ("attention_mass", "use")

    @property
    def surprised(self) -> bool:
        """Does the choice need the model's loss on each token?"""
        return self.choose in SURPRISED

    @property
    def cache(self) -> Json:
        """See KeyValueMixer."""
        names = ("chunk", "schedule", "exponent", "keep", "window", "sinks", "allocate", "choose")
        return super().cache | {name: getattr(self, name) for name in names}

    def state_law(self, width: int) -> StateLaw:
        """Keys and values, and float32 scores in every slot whose order does not say them; with `use` also how many
        slots each kv head holds, in four bytes.
        """
        law = super().state_law(width)
        if self.share is None and self.score_heads:
            law += StateLaw((StateTerm(self.score_heads, self.growth, "float32"),))
        if self.choose == "use":
            law += StateLaw((StateTerm(self.kv_heads, Fixed(), "float32"),))
        return law

    def parameters(self, width: int) -> int:
        """Those of attention, and of scores: a linear map of a token's keys and values, for `value` a hidden layer, for
        `use` two maps a kv head, of its key, its value and their norms, its prior and its worth.
        """
        return super().parameters(width) + self._score_parameters()

    def _score_parameters(self) -> int:
        if self.choose == "use":
            return self.kv_heads * (2 * (2 * self.head_dim + 3) + 2)
        if self.share is not None or self.choose not in TAUGHT:
            return 0
        inputs = self.slot if self.choose == "learned" else VALUE_HIDDEN
        return (inputs + 1) * self.kv_heads + ((self.slot + 1) * VALUE_HIDDEN if self.choose == "value" else 0)

    def too_short(self, length: int) -> str | None:
        """See MixerBase."""
        if length >= 2 * self.chunk:
            return None
        return f"chunk ({self.chunk}): a context of {length} tokens is shorter than two chunks; nothing is ever let go"

    @property
    def letter(self) -> str:
        """S."""
        return "S"
