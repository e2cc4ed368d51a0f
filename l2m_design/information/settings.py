"""MeasurementSettings: how to measure the information of a corpus."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from l2m_design.settings import Values

Length = Annotated[int, Field(ge=1, le=2**24)]


class MeasurementSettings(Values):
    """How to measure: lengths are n of I(n;n), doubling from `shortest` to `longest`.

    estimator: profile, direct and vclub need a scorer. shortest: by default 128 tokens (gaussian: 4 time steps).
    longest: by default the largest that at least 16 documents hold (at most 8192; gaussian: 512). windows: how many
    windows of 2 · longest tokens are read, spread over the documents; by default 256 (compression: 128, gaussian:
    4096). spots: most split points at which a window is read for one length; by default 8 (compression: 4). prime:
    tokens of other documents that the coder of compression reads first; by default 2^20, a third of all at most.
    control: "compression" removes what a compressor explains of a profile; auto does so where a model of the source
    scores. pairing: where the second term's Y comes from; profile knows same and none, direct same and other.
    bigram_correction: "paper" replaces what a model says of the first two tokens (profile, direct). normalise: what is
    done to each recording of an array before its covariance is taken (gaussian): recording (its scale, and its mean
    where it has a baseline), copula (ranks to normal scores), none; by default recording for files, none for synthetic
    sources. split: which documents; by default all. replicates: draws of the bootstrap. level: of the intervals. seed:
    of windows and bootstrap.

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
                f"pairing '{self.pairing}' does not go with {self.estimator}; other: direct, none: profile"
            )
        if self.control == "compression" and (self.estimator, self.pairing) != ("profile", "same"):
            raise ValueError("control 'compression' is for profile, paired in the same document")
        if self.prime is not None and self.estimator != "compression":
            raise ValueError(f"prime is for compression, {self.estimator} reads no other documents first")
        if self.normalise is not None and self.estimator != "gaussian":
            raise ValueError(f"normalise is for gaussian, {self.estimator} reads tokens")
        corrected = self.estimator in ("profile", "direct") and self.pairing != "none"
        if self.bigram_correction != "none" and not corrected:
            raise ValueError("bigram_correction goes with profile and direct, with pairing same or other")
        return self

    @property
    def needs_scorer(self) -> bool:
        """True when a model must score the corpus."""
        return self.estimator in ("profile", "direct", "vclub")
