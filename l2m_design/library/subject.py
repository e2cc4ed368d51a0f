"""The models that `l2m check` judges: an architecture, or a published model by its config."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

if TYPE_CHECKING:
    from l2m_design.advice import Dimension, Stack
    from l2m_design.architecture import Architecture
    from l2m_design.architecture.readers import Allotment, Published
    from l2m_design.architecture.readers.earlier import Earlier
    from l2m_design.laws import Dtypes, StateLaw


USUAL_NAMES = ("config.json", "params.json", "architecture.yaml", "card.json")


class Layer(TypedDict):
    """A layer, as JSON, with its state at the judged length. reads_layer: number of the layer whose cache it reads."""

    kind: str
    reads_layer: int | None
    letter: str
    growth_exponent: float
    growth: str
    state_elements: int
    parameters: NotRequired[int]


@dataclass(frozen=True)
class Subject:
    """The properties of a model that the condition and its report need.

    name: model type, None for an architecture. layers: rows for JSON, with states at the judged length. runtime:
    software whose cache layout is counted. notes: sentences. stack: state laws of its layers. kinds: their mixer types,
    with windows apart from full attention. dimensions: sizes of a fixed state that may be changed. allot: returns the
    bytes that a server allocates for a length, data types and a number of sequences, if they are counted. version:
    version of the runtime whose caches were measured. earlier: the state in an earlier version, if it differs.
    """

    name: str | None
    picture: str
    vocabulary: int
    width: int
    parameters: int
    active_parameters: int
    layers: list[Layer]
    runtime: str
    notes: list[str]
    stack: "Stack"
    kinds: tuple[str, ...]
    dimensions: "tuple[Dimension, ...]" = ()
    allot: "Callable[[int, Dtypes, int], Allotment] | None" = None
    version: str | None = None
    earlier: "Earlier | None" = None

    @property
    def state(self) -> "StateLaw":
        """History state of one sequence."""
        return self.stack.state


def read_all(
    paths: list[str], runtime: str | None, length: int, overrides: list[str], paged: bool = False
) -> dict[str, Subject]:
    """Subjects by the names of their files or folders; whole paths if these names are not unique."""
    from l2m_design.errors import BadInput

    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise BadInput(f"{twice}: given twice; each model can be compared once")
    names = [_name(Path(path)) for path in paths]
    if len(set(names)) < len(names):
        names = paths
    found: dict[str, Subject] = {}
    for name, path in zip(names, paths, strict=True):
        try:
            found[name] = read(path, runtime, length, overrides, paged)
        except BadInput as error:
            if len(paths) == 1 or str(error).startswith(path):
                raise
            raise BadInput(f"{path}: {error}") from None
    return found


def _name(path: Path) -> str:
    return path.parent.resolve().name if path.name in USUAL_NAMES else path.name or path.resolve().name


def read(path: str, runtime: str | None, length: int, overrides: list[str], paged: bool = False) -> Subject:
    """Read the architecture or the published config at a path, for a context of `length` tokens. paged: with the memory
    pages that vLLM allocates. Raises BadInput.
    """
    from l2m_design.architecture.readers import is_published, published
    from l2m_design.errors import BadInput

    if is_published(path):
        return _of_published(published(path, runtime, overrides), length, paged)
    if runtime is not None:
        raise BadInput(
            f"`runtime`: works only with a published config.json; {path} is an architecture file, of which exactly the "
            "necessary state is counted"
        )
    from l2m_design.architecture import Architecture

    if Path(path).is_dir() and not (Path(path) / "architecture.yaml").exists():
        raise BadInput(f"{path}: the folder contains neither an architecture.yaml nor a config.json")
    architecture = Architecture.load(path, overrides)
    architecture.check_context(length, path)
    return of_architecture(architecture, length)


def of_architecture(architecture: "Architecture", length: int) -> Subject:
    """Return the subject of an architecture, for a context of `length` tokens."""
    from l2m_design.advice import Stack

    hidden = (
        f"The last hidden vector ({architecture.width} elements), from which the surprise of the next token is "
        "computed, is "
        "part of the state."
    )
    layers: list[Layer] = [
        {
            "kind": layer.kind,
            "reads_layer": getattr(layer, "share", None),
            "letter": layer.letter,
            "growth_exponent": layer.state_law(architecture.width).exponent,
            "growth": layer.state_law(architecture.width).growth,
            "state_elements": layer.state_law(architecture.width).elements(length),
        }
        for layer in architecture.layers
    ]
    notes = [hidden] if architecture.surprised else []
    parameters = architecture.parameters
    kinds = tuple(layer.state_kind for layer in architecture.layers)
    stack = Stack.of(architecture.laws, architecture.width, architecture.outside)
    return Subject(
        None,
        architecture.picture,
        architecture.vocabulary,
        architecture.width,
        parameters,
        parameters,
        layers,
        "ideal",
        notes,
        stack,
        kinds,
        _sizes(architecture),
    )


def _sizes(architecture: "Architecture") -> "tuple[Dimension, ...]":
    from l2m_design.advice import Dimension
    from l2m_design.architecture.sizes import resized, sizes

    return tuple(
        Dimension(name, now, partial(resized, architecture, name)) for name, now in sizes(architecture).items()
    )


def _of_published(model: "Published", length: int, paged: bool) -> Subject:
    from l2m_design.advice import Dimension, Stack, window
    from l2m_design.architecture.readers import llama_cpp, vllm
    from l2m_design.architecture.readers.runtimes import convention
    from l2m_design.library.allotted import NOTES

    layers: list[Layer] = [
        {
            "kind": layer.kind,
            "reads_layer": layer.shares,
            "letter": layer.letter,
            "growth_exponent": layer.state.exponent,
            "growth": layer.state.growth,
            "state_elements": layer.state.elements(length),
            "parameters": layer.parameters,
        }
        for layer in model.layers
    ]
    notes = list(model.notes)
    if model.earlier is not None:
        notes.insert(1, model.earlier.sentence(model.state))
    if model.positions is not None and length > model.positions:
        notes.append(f"Its config allows {model.positions:,} positions; it is judged at a context of {length:,}.")
    stack = Stack.of(tuple(layer.state for layer in model.layers), model.width)
    dimensions = window(stack)
    if model.config.d_state is not None:
        dimensions += (Dimension("d_state", model.config.d_state, model.of_d_state),)
    server = llama_cpp if model.runtime == "llama.cpp" else vllm if paged else None
    notes.append(NOTES[model.runtime if server else None])
    return Subject(
        name=model.model_type,
        picture=model.picture,
        vocabulary=model.vocabulary,
        width=model.width,
        parameters=model.parameters,
        active_parameters=model.active_parameters,
        layers=layers,
        runtime=model.runtime,
        notes=notes,
        stack=stack,
        kinds=tuple(layer.kind for layer in model.layers),
        dimensions=dimensions,
        allot=partial(server, stack.layers) if server else None,
        version=convention(model.runtime).version,
        earlier=model.earlier,
    )
