"""Trainings of a tiny model on twelve words, which take a second."""

from pathlib import Path

import torch
from support import tiny_bert

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup
from colbertv2.training.examples import Example
from colbertv2.training.fit import fit
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import InBatchNegatives
from colbertv2.training.optimization import Optimization
from colbertv2.training.recipe import Recipe

WORDS = ["list", "string", "join", "sort", "open", "file", "read", "write", "number", "text", "parse", "return"]


class Texts:
    """Replaces a collection and queries: an id is its own text."""

    def texts(self, ids):
        return [one.split(":")[-1] for one in ids]


LOOKUP = TextLookup(Texts(), Texts())  # pyright: ignore
EXAMPLES = [
    Example(word, [f"d:{word} a", *(f"d:{other} a" for other in WORDS if other != word)], [1.0] + [0.0] * 11)
    for word in WORDS
]


class Interrupted(TextLookup):
    """A lookup that raises at a given batch, where a killed process would stop."""

    def __init__(self, after: int):
        super().__init__(LOOKUP.queries, LOOKUP.documents)
        self.left = after

    def __call__(self, examples):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("killed")
        return super().__call__(examples)


def ranker(seed: int = 0) -> ColBERT:
    tokenization = Tokenization(12, 12, None, None, False, False, False)
    return initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 16, "orthogonal", [], seed)


def recipe(steps: int = 4, interval: int = 2, learning_rate: float = 3e-3, **keys) -> Recipe:
    values = {
        "objectives": {"in_batch": InBatchNegatives(1.0, 1.0)},
        "optimization": Optimization(learning_rate, 1, steps, 0.0, 0.0),
        "n_way": 2,
        "negatives": NegativeSampling("uniform", 1.0),
        "batch_size": 4,
        "gradient_accumulation_steps": 1,
        "in_batch_groups": 1,
        "precision": "32-true",
        "gradient_clip": 1.0,
        "validation_interval": interval,
        "validation_queries": 2,
        "gradient_cache_chunk": None,
        "gradient_checkpointing": False,
        "compile": False,
    }
    return Recipe(**{**values, **keys})


def trained(out: Path, chosen: Recipe, validation: list[Example] | None = None, **runtime) -> ColBERT:
    """Train into ``out``, a directory like one that a stage fills; its name is the address."""
    out.mkdir(exist_ok=True, parents=True)
    settings = Runtime(root=out.parent, **{"device": "cpu", "wandb": "disabled", "progress": False, **runtime})
    settings = settings.building({"address": out.name, "arguments": {"steps": chosen.optimization.steps}})
    model, dev = ranker(), EXAMPLES if validation is None else validation
    fit(model, chosen, EXAMPLES, dev, LOOKUP, LOOKUP, seed=0, out=out, runtime=settings)
    return model


def weights(model: ColBERT) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])
