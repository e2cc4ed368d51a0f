"""L²M design: measure the mutual information of a corpus; search for the smallest history state that keeps up with it.

    corpus -> information -> PowerLaw (requirement) --+
                                                      +- condition -> search -> report
    space  -> architecture -> StateLaw (state) -------+                 |  `--> export
                   `--> model -> training -> Result --------------------+

One side measures what the data require, the other computes what a model stores. Both are laws of growth with context
length, which `condition` compares; `advice` computes what would change the result. A subpackage imports only from lower
floors: 0 laws, estimates, settings | 1 corpus, architecture, condition | 2 information, model, advice | 3 training |
4 measuring, calibration | 5 search | 6 report, export | 7 library | 8 cli.

Use it as `import l2m_design as l2m`: the functions `l2m.estimate`, `l2m.check`, `l2m.search`, `l2m.train`, `l2m.export`
and `l2m.build`, and the classes that they take and return (`__all__`). Each is imported when it is first used.
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

_MODULES = {
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
_MODULE = {name: module for module, names in _MODULES.items() for name in names}


class _Callable(ModuleType):
    """A subpackage that is also the function of its name: `l2m.search(study)` works beside `l2m_design.search.run`."""

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self._function)

    @property
    def _function(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(f"l2m_design.library.{name}"), name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function of this name in l2m_design.library."""
        return self._function(*arguments, **options)


for _package in ("search", "export"):
    import_module(f"l2m_design.{_package}").__class__ = _Callable


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE:
        raise AttributeError(f"module 'l2m_design' has no attribute '{name}'")
    return getattr(import_module(f"l2m_design.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "__doc__"})
