"""What data ask for: estimators of the mutual information between neighbouring halves, and its exponent."""

from l2m_design.information.exponent import Fit, fit_curve
from l2m_design.information.measure import Measurement, MeasurementSettings, measure

__all__ = ["Fit", "Measurement", "MeasurementSettings", "fit_curve", "measure"]
