"""ColBERTv2 for research: late interaction, residual compression, denoised supervision, and sweeps over all of it.

Each public name is imported on first use, so ``import colbertv2`` itself is cheap:

>>> from colbertv2 import compose, plan
>>> [step.key for step in plan(compose(["collection=stdlib_small", "target=initial"]))]
['pipeline.initial']
"""

from importlib import import_module

PUBLIC = {
    "ColBERT": "colbertv2.modeling.colbert",
    "untrained": "colbertv2.modeling.initial",
    "TextIndex": "colbertv2.search.text_index",
    "rerank": "colbertv2.search.reranking",
    "maxsim": "colbertv2.modeling.maxsim",
    "ResidualCodec": "colbertv2.compression.residual",
    "Index": "colbertv2.indexing.index",
    "Searcher": "colbertv2.search.searcher",
    "Collection": "colbertv2.data.collection",
    "Queries": "colbertv2.data.queries",
    "Qrels": "colbertv2.data.queries",
    "Examples": "colbertv2.training.examples",
    "CrossEncoder": "colbertv2.modeling.cross_encoder",
    "Ranking": "colbertv2.evaluation.ranking",
    "evaluate": "colbertv2.evaluation.measures",
    "compose": "colbertv2.configuration.composition",
    "plan": "colbertv2.configuration.composition",
    "build": "colbertv2.configuration.composition",
}
__all__ = list(PUBLIC)


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'colbertv2' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)
