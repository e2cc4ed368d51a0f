"""L²M design: measure what a data set asks a model to remember, search the smallest state that keeps it.

    corpus -> information -> PowerLaw (demand) --+
                                                 +- condition -> search -> report
    space  -> architecture -> StateLaw (supply) -+                 |  `--> export
                   `--> model -> training -> Result ---------------+

The left wing learns what the data ask for, the right wing draws and builds what a model keeps; both
speak in laws of growth with context length and meet in `condition`; `advice` says what would change its
answer. Floors, from the ground:
0 laws, estimates, settings | 1 corpus, architecture, condition | 2 information, model, advice | 3 training |
4 measuring, calibration | 5 search | 6 report, export | 7 library | 8 cli. A room imports only from floors below it.

As a library: `import l2m_design as l2m`, then `l2m.estimate`, `l2m.check`, `l2m.search`, `l2m.train`, `l2m.export`, and
what they take and answer (`__all__`). Each is imported when it is first asked for.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2m_design.architecture import Architecture
    from l2m_design.condition import Demand, Verdict
    from l2m_design.corpus import Corpus, open_corpus
    from l2m_design.errors import BadInput, WorkFailed
    from l2m_design.estimates import Curve, Estimate
    from l2m_design.information import Measurement, MeasurementSettings
    from l2m_design.laws import PowerLaw, StateLaw
    from l2m_design.library.check import Checked, check
    from l2m_design.library.estimate import estimate
    from l2m_design.library.export import export
    from l2m_design.library.search import StudySummary, search
    from l2m_design.library.train import train
    from l2m_design.model import LanguageModel, build
    from l2m_design.training.recipe import Recipe
    from l2m_design.training.trained import Trained

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "BadInput",
    "Checked",
    "Corpus",
    "Curve",
    "Demand",
    "Estimate",
    "LanguageModel",
    "Measurement",
    "MeasurementSettings",
    "PowerLaw",
    "Recipe",
    "StateLaw",
    "StudySummary",
    "Trained",
    "Verdict",
    "WorkFailed",
    "build",
    "check",
    "estimate",
    "export",
    "open_corpus",
    "search",
    "train",
]

_PLACES = {
    "architecture": ("Architecture",),
    "condition": ("Demand", "Verdict"),
    "corpus": ("Corpus", "open_corpus"),
    "errors": ("BadInput", "WorkFailed"),
    "estimates": ("Curve", "Estimate"),
    "information": ("Measurement", "MeasurementSettings"),
    "laws": ("PowerLaw", "StateLaw"),
    "library.check": ("Checked", "check"),
    "library.estimate": ("estimate",),
    "library.search": ("StudySummary",),
    "library.train": ("train",),
    "model": ("LanguageModel", "build"),
    "training.recipe": ("Recipe",),
    "training.trained": ("Trained",),
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}


class _Verb(ModuleType):
    """A room that is also the verb of its name: `l2m.search(study)` beside `l2m_design.search.run`."""

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self._verb)

    @property
    def _verb(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(f"l2m_design.library.{name}"), name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """The function of this name in l2m_design.library."""
        return self._verb(*arguments, **options)


for _room in ("search", "export"):
    import_module(f"l2m_design.{_room}").__class__ = _Verb


def __getattr__(name: str) -> Any:
    """A public name, imported when it is asked for."""
    if name not in _PLACE:
        raise AttributeError(f"module 'l2m_design' has no attribute '{name}'")
    return getattr(import_module(f"l2m_design.{_PLACE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "__doc__"})
