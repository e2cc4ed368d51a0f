"""What a published config is to its reader: checked fields with its class's defaults, and the layers they tell of."""

import json
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from l2m_design.architecture.readers.mixers import Mixer, Weights
from l2m_design.errors import BadInput
from l2m_design.settings import Values, nearest

DEPTH = 1024
Size = Annotated[int, Field(ge=1, le=1_000_000_000)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Depth = Annotated[int, Field(ge=1, le=DEPTH)]
Words = Annotated[list[str], Field(max_length=DEPTH)]
Indices = Annotated[list[int], Field(max_length=DEPTH)]
Taps = Annotated[int, Field(ge=1, le=1024)]
Dtype = Literal["float32", "bfloat16", "float16"]
Auto = Annotated[Size | None, BeforeValidator(lambda value: None if value == "auto" else value)]

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"
PREDICTED = AliasChoices("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")
FORMER_NAMES = {"attention": FULL, "mamba": LINEAR}


@dataclass(frozen=True)
class Block:
    """A layer as its config tells it.

    weights: of the mixer, the MLP and their norms. shares: the layer whose cache it reads, if it keeps none.
    """

    mixer: Mixer
    weights: Weights
    shares: int | None = None


class Lenient(Values):
    """Values of a file that others write: keys that are not known are passed over."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        return data


@cache
def class_defaults() -> dict[str, Any]:
    """What `make defaults` writes of transformers: by model_type, the values that its class has by default; under
    "unread", the types that have a class but no reader; under "classes", the class of each type's models.
    """
    values: dict[str, Any] = json.loads(Path(__file__).with_name("defaults.json").read_text())
    return values


def names(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The names that a file may give a field under."""
    alias = field.validation_alias
    others = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return (name, *(other for other in others if isinstance(other, str)))


class Config(Lenient):
    """A published config. Fields stand under the names of its transformers class; what a file leaves out is as
    defaults.json has it of that class. Keys that do not bear on state or parameters are passed over.

    own_runtime: whose cache it is, by default. norms: vectors of the model's width that a layer's norms hold.
    known: the layer types that the class builds. own: fields, one of which a file must state to tell of a model of
    its own.
    """

    own_runtime: ClassVar[str] = "transformers"
    norms: ClassVar[int] = 2
    known: ClassVar[tuple[str, ...]] = (FULL,)
    own: ClassVar[tuple[str, ...]] = ("hidden_size", "num_hidden_layers")

    model_type: str
    vocab_size: Size
    hidden_size: Size
    tie_word_embeddings: bool = False
    max_position_embeddings: Size | None = None
    per_layer_config: Annotated[dict[str, Any], Field(max_length=DEPTH)] | None = None
    layer_types: Words | None = None
    num_nextn_predict_layers: Count | None = Field(default=None, validation_alias=PREDICTED)

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Validate the data of a file with its class's defaults below; raises BadInput naming `where` and the field.

        A file that states none of `own` is refused: nearly all that were judged would be its class's.
        """
        given = {name for name, field in cls.model_fields.items() if not data.keys().isdisjoint(names(name, field))}
        defaults = class_defaults().get(data["model_type"], {})
        if given.isdisjoint(cls.own):
            raise BadInput(
                f"{where}: none of {', '.join(cls.own)} is given, so the defaults of its class would be judged; "
                f"add the sizes, or `overrides` hidden_size={defaults.get('hidden_size')} if the defaults of "
                f"{data['model_type']} are meant"
            )
        config = super().parse({name: defaults[name] for name in defaults.keys() - given} | data, where)
        config.model_fields_set.intersection_update(given)
        return config

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if self.layer_types is not None and len(self.layer_types) != self.depth:
            raise ValueError(
                f"layer_types: must have one entry for each of the {self.depth} layers, found {len(self.layer_types)}"
            )
        for index, kind in enumerate(self.kinds):
            if kind not in self.known:
                close = nearest(kind, self.known)
                hint = f"; did you mean '{close}'?" if close else ""
                raise ValueError(f"layer_types.{index}: unknown {kind[:40]!a}, allowed: {', '.join(self.known)}{hint}")
        return self

    @property
    @abstractmethod
    def depth(self) -> int:
        """Layers."""

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The type of each layer: as given, or as the class makes it where it is not."""
        if self.layer_types is None:
            return tuple(self.kind(index) for index in range(self.depth))
        return tuple(FORMER_NAMES.get(kind, kind) for kind in self.layer_types)

    def kind(self, index: int) -> str:
        """The type of a layer where the config gives none."""
        return FULL

    @abstractmethod
    def mixer(self, index: int, kind: str) -> Mixer:
        """The mixer of a layer of this type."""

    @abstractmethod
    def feed(self, index: int, kind: str) -> Weights:
        """The MLP of a layer."""

    @property
    def norm(self) -> int:
        """Trainable numbers of one norm over the model's width."""
        return self.hidden_size

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The layers, first to last."""
        return tuple(self.block(index, kind) for index, kind in enumerate(self.kinds))

    def block(self, index: int, kind: str) -> Block:
        """Mixer, MLP and norms of a layer."""
        mixer = self.mixer(index, kind)
        weights = Weights.dense(mixer.weights + self.norms * self.norm) + self.feed(index, kind)
        return Block(mixer, weights, self.shares(index))

    def shares(self, index: int) -> int | None:
        """The earlier layer (from 0) whose cache a layer reads, None for its own."""
        return None

    @property
    def d_state(self) -> int | None:
        """The size that all recurrent memories of a model without attention follow, if there is one."""
        return None

    def with_d_state(self, size: int) -> Self:
        """The same with memories of another size; as it is where there is no such size."""
        return self

    @property
    def outside(self) -> int:
        """Trainable numbers outside the layers: embeddings (once where they are tied) and the last norm."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2) + self.norm

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the numbers must know, in sentences."""
        return ("The layers that predict further tokens (MTP) are not counted: its class does not have them.",) * bool(
            self.num_nextn_predict_layers
        )

    @property
    def assumed(self) -> dict[str, Any]:
        """Fields that the file does not give and that its class has a value for."""
        absent = sorted(name for name in type(self).model_fields if name not in self.model_fields_set)
        known = {name: getattr(self, name) for name in absent}
        return {
            name: value
            for name, value in known.items()
            if isinstance(value, bool | int | float | str | list) and value != []
        }


def divides(small: int, name: str, large: int, other: str) -> None:
    """Raises ValueError where `small` is no divisor of `large`."""
    if large % small:
        raise ValueError(f"{name} ({small}) must divide {other} ({large})")
