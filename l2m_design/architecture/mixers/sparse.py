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
    """Attention with a bounded cache: all tokens of the current and the previous chunk, and a budget of older tokens.

    chunk: tokens of a chunk, a power of two. schedule: how many older tokens are cached: power grows as t^exponent, log
    as ln t, window and sinks+window are a fixed number. exponent: exponent of the schedule power. keep: factor of the
    schedules power and log. window: number of older tokens of the fixed schedules. sinks: number of first tokens that
    stay cached; they count as part of the window with allocate global, and come in addition with allocate chunk.
    allocate: chunk gives every chunk a number of slots that depends on its age only; global lets all older tokens
    compete; with layer the kv heads compete for the slots of the layer, kv_heads times the budget in total. choose:
    which older tokens stay cached. spread takes them evenly; learned uses a learned score of key and value that also
    weights the attention; surprise uses -ln q(token) under the model; value uses predicted use times surprise; use
    takes the attention that a token will still receive, predicted from its key and value, its age and the attention
    received so far, with separate slots for each kv head (allocate global or layer). Published rules are key_norm,
    small keys (arXiv 2406.11430), attention_mass, attention received so far (H2O, arXiv 2306.14048), and recency, the
    most recent tokens (as in StreamingLLM, but with the positions of the text).
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
                raise ValueError(f"{name}: required by schedule: {self.schedule}")
            if given and not needed:
                raise ValueError(
                    f"{name} ({getattr(self, name)}): not allowed with schedule: {self.schedule}; leave it out"
                )
        if fixed and self.keep != 1.0:
            raise ValueError(
                f"keep ({self.keep}): with schedule: {self.schedule} the number of old tokens is `window`; leave keep "
                "out"
            )
        return self

    @model_validator(mode="after")
    def _choice_suits(self) -> Self:
        if self.allocate == "layer" and self.choose != "use":
            raise ValueError(
                f"allocate (layer): needs choose: use, found {self.choose}; use allocate: global with other rules"
            )
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
                raise ValueError(
                    f"choose ({self.choose}): must be spread, since a window of whole chunks leaves nothing to choose"
                )
        if self.schedule == "sinks+window" and not self.sinks:
            raise ValueError("sinks: must be at least 1 with schedule: sinks+window")
        if self.sinks and self.schedule != "sinks+window" and self.allocate == "chunk":
            raise ValueError(f"sinks ({self.sinks}): allowed with allocate: chunk only for schedule: sinks+window")
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
        return (
            f"chunk ({self.chunk}): a context of {length} tokens is shorter than two chunks, so nothing is ever evicted"
        )

    @property
    def letter(self) -> str:
        """S."""
        return "S"
