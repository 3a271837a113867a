"""Training: examples, objectives and the Lightning module (ColBERTv2 §3.2)."""

from colbertv2.training.denoising import Denoising
from colbertv2.training.examples import Example, Examples
from colbertv2.training.fit import fit
from colbertv2.training.module import RankingModule
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import CrossEntropy, InBatchNegatives, KLDivergence, MarginMSE
from colbertv2.training.optimization import Optimization
from colbertv2.training.recipe import Recipe

__all__ = [
    "CrossEntropy",
    "Denoising",
    "Example",
    "Examples",
    "InBatchNegatives",
    "KLDivergence",
    "MarginMSE",
    "NegativeSampling",
    "Optimization",
    "RankingModule",
    "Recipe",
    "fit",
]
