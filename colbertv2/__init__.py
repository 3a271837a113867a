"""ColBERTv2 for research: late interaction, residual compression, denoised supervision, and sweeps over all of it.

The public names, imported on first use, so that ``import colbertv2`` costs nothing:

>>> from colbertv2 import compose, plan
>>> [step.key for step in plan(compose(["collection=stdlib_small", "target=initial"]))]
['pipeline.initial']
"""

from importlib import import_module

PUBLIC = {
    "ColBERT": "colbertv2.modeling",
    "maxsim": "colbertv2.modeling",
    "ResidualCodec": "colbertv2.compression",
    "Index": "colbertv2.indexing",
    "Searcher": "colbertv2.search",
    "Collection": "colbertv2.data",
    "Queries": "colbertv2.data",
    "Qrels": "colbertv2.data",
    "Examples": "colbertv2.training",
    "CrossEncoder": "colbertv2.modeling",
    "Ranking": "colbertv2.evaluation",
    "evaluate": "colbertv2.evaluation",
    "compose": "colbertv2.configuration",
    "plan": "colbertv2.configuration",
    "build": "colbertv2.configuration",
}
__all__ = list(PUBLIC)


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'colbertv2' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)
