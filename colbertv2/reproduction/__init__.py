"""The tables of the papers: published values as data, measured ones beside them, a verdict for each."""

from colbertv2.reproduction.experiment import Experiment, Row
from colbertv2.reproduction.measure import Measurement, measure
from colbertv2.reproduction.verdict import comparison

__all__ = ["Experiment", "Measurement", "Row", "comparison", "measure"]
