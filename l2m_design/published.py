"""Published measurements to compare with: arXiv 2503.04725, LLaMA-3.1-405B, its tokens, contexts L = 4..2048."""

from dataclasses import dataclass

from l2m_design.laws import PowerLaw

CONTEXTS = tuple(2**j for j in range(2, 12))


@dataclass(frozen=True)
class Published:
    """Fits A L^beta in nats of the direct and vCLUB estimators, A d^-alpha of the two-point information.

    points: I(L/2; L) by the direct estimator at CONTEXTS, read off the figure, within 2%.
    """

    name: str
    direct: tuple[float, float]
    vclub: tuple[float, float]
    two_point: tuple[float, float]
    points: tuple[float, ...]

    @property
    def law(self) -> PowerLaw:
        """The direct estimator's law in n = L/2."""
        prefactor, beta = self.direct
        return PowerLaw(prefactor * 2**beta, beta)


PG19 = Published(
    name="PG19 books",
    direct=(2.27, 0.76),
    vclub=(3.26, 0.71),
    two_point=(1.10, 0.91),
    points=(6.3, 10.9, 19.1, 32.3, 53.8, 86.9, 151, 254, 431, 741),
)
WIKIPEDIA = Published(
    name="Wikipedia",
    direct=(4.50, 0.66),
    vclub=(7.01, 0.60),
    two_point=(1.87, 0.94),
    points=(9.6, 19.1, 31.6, 47.5, 71.8, 106, 167, 271, 448, 741),
)
PUBLISHED = (PG19, WIKIPEDIA)
