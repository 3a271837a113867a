"""Rankings, measures, significance, and the table and figure of an experiment."""

from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.ranking import Ranking

__all__ = ["Ranking", "evaluate"]
