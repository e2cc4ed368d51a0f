"""Settings of a measurement of the information of a corpus."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from l2m_design.settings import Values

Length = Annotated[int, Field(ge=1, le=2**24)]


class MeasurementSettings(Values):
    """How to measure I(n;n), for lengths n that double from `shortest` to `longest`.

    estimator: compression, gaussian, or profile, direct and vclub, which need a model. shortest: shortest n; by default
    128 tokens (gaussian: 4 time steps). longest: longest n; by default the largest for which at least 16 documents are
    long enough, at most 8192 (gaussian: 512). windows: number of windows of 2 · longest tokens, spread over the
    documents; by default 256 (compression: 128, gaussian: 4096). spots: maximum number of split points per window and
    length; by default 8 (compression: 4). prime: tokens of other documents that the compressor reads first; by default
    2^20, at most a third of all. control: compression uses a compressor as control variate of profile; auto does so if
    a model scores the corpus. pairing: Y in the subtracted term log p(Y): same document; other document (direct only);
    none, the loss of the first half instead (profile only). bigram_correction: paper replaces the scores of the first
    two tokens by the published correction (profile, direct). normalise: what is done to each recording of an array
    (gaussian): recording (divide by its scale, and remove its mean if it has a baseline), copula (ranks to normal
    scores) or none; by default recording for files and none for synthetic sources. split: documents to read; by default
    all. replicates: number of bootstrap replicates. level: confidence level of intervals. seed: random seed of windows
    and bootstrap.

    Examples:
        >>> MeasurementSettings(estimator="profile", longest=1024).needs_scorer
        True
    """

    estimator: Literal["compression", "profile", "direct", "vclub", "gaussian"] = "compression"
    shortest: Length | None = None
    longest: Length | None = None
    windows: Annotated[int, Field(ge=8, le=10**6)] | None = None
    spots: Annotated[int, Field(ge=1, le=1024)] | None = None
    prime: Annotated[int, Field(ge=1024, le=2**23)] | None = None
    control: Literal["auto", "compression", "none"] = "auto"
    pairing: Literal["same", "other", "none"] = "same"
    bigram_correction: Literal["none", "paper"] = "none"
    normalise: Literal["recording", "copula", "none"] | None = None
    split: Literal["train", "validation", "test"] | None = None
    replicates: Annotated[int, Field(ge=100, le=10**5)] = 1000
    level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.pairing != "same" and (self.estimator, self.pairing) not in (("profile", "none"), ("direct", "other")):
            raise ValueError(
                f"pairing '{self.pairing}' is not allowed for {self.estimator}: other is for direct, none for profile"
            )
        if self.control == "compression" and (self.estimator, self.pairing) != ("profile", "same"):
            raise ValueError("control 'compression' is allowed for profile with pairing same only")
        if self.prime is not None and self.estimator != "compression":
            raise ValueError(f"prime is allowed for compression only, found {self.estimator}")
        if self.normalise is not None and self.estimator != "gaussian":
            raise ValueError(f"normalise is allowed for gaussian only, found {self.estimator}")
        corrected = self.estimator in ("profile", "direct") and self.pairing != "none"
        if self.bigram_correction != "none" and not corrected:
            raise ValueError("bigram_correction is allowed for profile and direct, with pairing same or other")
        return self

    @property
    def needs_scorer(self) -> bool:
        """True when a model must score the corpus."""
        return self.estimator in ("profile", "direct", "vclub")
