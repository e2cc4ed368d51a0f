"""`l2m.estimate`: measure the mutual information of a corpus; a notebook displays the result."""

from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from l2m_design.corpus import Corpus
from l2m_design.errors import BadInput
from l2m_design.information import Measurement, MeasurementSettings
from l2m_design.measuring.estimate import Estimation
from l2m_design.measuring.scorer import REFERENCE_TOKENS, Progress


@dataclass(frozen=True, repr=False)
class Estimated(Measurement):
    """A measurement that notebooks display with its figure."""

    def _repr_html_(self) -> str:
        from l2m_design.report.figures.measurement import measurement_svg

        answer = f"beta = {self.beta}" if self.beta else f"No beta: {self.without_beta}"
        sentences = "".join(
            f"<p>{escape(each[:1].upper() + each[1:])}.</p>" for each in (answer, self.fit.sentence, *self.notes)
        )
        return measurement_svg([self], None, published=False) + sentences


def estimate(
    corpus: str | Path | Corpus,
    estimator: str | None = None,
    model: str | None = None,
    *,
    tokenizer: str | None = None,
    scores: str | Path | None = None,
    reference_tokens: int = REFERENCE_TOKENS,
    device: str = "auto",
    trust_remote_code: bool = False,
    on_progress: Progress = lambda what, done, total: None,
    **settings: Any,
) -> "Estimated":
    """Measure how the mutual information I(n;n) of neighbouring blocks of n tokens of a corpus grows with n.

    corpus: a name or path as on the command line, or an opened Corpus. estimator: compression (default), gaussian
    (default for arrays of real numbers), or profile, direct or vclub, which need a model. model: oracle, train, a
    Hugging Face folder or name, a .gguf file, or the address of a server. tokenizer: for text; by default that of the
    model, else bytes. scores: .parquet file in which scores of the model are stored and reused. reference_tokens:
    training tokens of model "train". device: auto, cpu, cuda or cuda:N. trust_remote_code: run Python code that comes
    with a model. on_progress: called with (what, done, total). settings: fields of MeasurementSettings, such as
    longest=4096, windows=64, seed=1. Returns a Measurement in nats. Raises BadInput.

    Examples:
        >>> import l2m_design as l2m
        >>> found = l2m.estimate("markov:stay=0.9,documents=60,length=1024", longest=256, windows=32)
        >>> found.beta is None
        True
    """
    table = Path(scores).expanduser() if scores else None
    work = Estimation(corpus, tokenizer, trust_remote_code, device, reference_tokens, table)
    given = {"estimator": estimator or work.default(has_model=model is not None)} | settings
    wanted = MeasurementSettings.parse(given, "estimate")
    if wanted.needs_scorer != (model is not None):
        raise BadInput("the estimators profile, direct and vclub need a model; compression and gaussian take none")
    found = work.measurements([wanted], [model] if model else [], on_progress)[0]
    return Estimated(**{each.name: getattr(found, each.name) for each in fields(found)})
