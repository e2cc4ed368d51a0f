"""What data require: estimators of the mutual information between neighbouring halves, and its exponent."""

from l2m_design.information.exponent import Fit, fit_curve
from l2m_design.information.measure import Measurement, measure
from l2m_design.information.settings import MeasurementSettings
from l2m_design.information.two_point import TwoPoint, two_point

__all__ = ["Fit", "Measurement", "MeasurementSettings", "TwoPoint", "fit_curve", "measure", "two_point"]
