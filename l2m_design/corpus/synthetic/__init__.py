"""Synthetic sources whose Bayes loss is known exactly, of most the information too: the estimators' test bed."""

from collections.abc import Callable
from typing import Any

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.options import parse_options
from l2m_design.corpus.synthetic.arfima import Arfima, ArfimaSettings
from l2m_design.corpus.synthetic.context_recall import (
    FuzzyRecall,
    FuzzyRecallSettings,
    NoisyRecall,
    NoisyRecallSettings,
)
from l2m_design.corpus.synthetic.gaussian import GaussianSource
from l2m_design.corpus.synthetic.mqar import Mqar, MqarSettings
from l2m_design.corpus.synthetic.santa_fe import SantaFe, SantaFeSettings
from l2m_design.corpus.synthetic.selective_copy import SelectiveCopy, SelectiveCopySettings
from l2m_design.corpus.synthetic.simple import Copy, CopySettings, Iid, IidSettings, Markov, MarkovSettings
from l2m_design.corpus.synthetic.tree_gaussian import TreeGaussian, TreeGaussianSettings

SOURCES: dict[str, tuple[type[Any], Callable[[Any], Corpus]]] = {
    "santa-fe": (SantaFeSettings, SantaFe),
    "tree-gaussian": (TreeGaussianSettings, TreeGaussian),
    "arfima": (ArfimaSettings, Arfima),
    "markov": (MarkovSettings, Markov),
    "iid": (IidSettings, Iid),
    "copy": (CopySettings, Copy),
    "mqar": (MqarSettings, Mqar),
    "noisy-recall": (NoisyRecallSettings, NoisyRecall),
    "fuzzy-recall": (FuzzyRecallSettings, FuzzyRecall),
    "selective-copy": (SelectiveCopySettings, SelectiveCopy),
}


def synthetic(kind: str, options: str, spec: str) -> Corpus:
    """The source of `kind[:key=value,...]`. Raises BadInput naming the option."""
    settings, source = SOURCES[kind]
    return source(parse_options(options, settings, spec))


def is_exact(corpus: Corpus) -> bool:
    """True when the corpus knows its own Bayes loss."""
    return hasattr(corpus, "bayes_nats")


def knows_information(corpus: Corpus) -> bool:
    """True when the corpus knows its own I(n;n): not for recall tasks, whose law depends on the place in a document."""
    return hasattr(corpus, "information")


def is_exact_on_windows(corpus: Corpus) -> bool:
    """True when the Bayes loss of windows of tokens is known wherever they are cut: not for sources of real values, nor
    where only whole documents mean something.
    """
    return is_exact(corpus) and not corpus.whole and not isinstance(corpus, GaussianSource)
