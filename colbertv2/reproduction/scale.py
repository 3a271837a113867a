"""The same experiment, small: on a sample of its own collection where that is here, else of the embedded one."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from colbertv2.ablation.points import as_mapping
from colbertv2.data import Queries
from colbertv2.errors import InputError

DOCUMENTS, QUERIES = 200, 20
EMBEDDED = "stdlib-small/test"
CHOICES = ("model=minilm",)
SETTINGS = {  # where a configuration has them
    "document_maxlen": 64,
    "model.conventions.document_maxlen": 64,
    "model.conventions.query_maxlen": 32,
    "codec.kmeans_iterations": 2,
    "mining.codec.kmeans_iterations": 2,
    "mining.depth": 20,
    "mining.score_depth": 4,
    "mining.score_queries": 8,
    "mining.dev_depth": 4,
    "runtime.latency_queries": 5,
    "pipeline.centroid_analysis.sample_vectors": 4096,
}
TRAINING = {"n": 3, "batch_size": 4, "validation_queries": 4, "validation_interval": 2, "optimization.steps": 2}


def small(config: DictConfig, overrides: Sequence[str], at_hand: bool) -> list[str]:
    """Overrides of a small run, from those of the whole one and the configuration that they give.

    Where there are training queries, the sample's own stand for them: to show that all paths work, which they do not
    spoil.

    Args:
        at_hand: whether the collection may be asked for; else the embedded one stands in, and nothing is fetched.
    """
    source = EMBEDDED
    if at_hand and source_is_here(str(config.collection.eval.id)):
        source = str(config.collection.eval.id)
    sample = f"sample:{DOCUMENTS}:{QUERIES}:{source}"
    chosen: dict[str, object] = {}
    chosen["collection.documents.id"] = chosen["collection.eval.id"] = sample
    for part in ("train", "dev"):
        if config.collection.get(part) is not None:
            chosen |= {f"collection.{part}.id": sample, f"collection.{part}.part": "null"}
            chosen[f"collection.{part}.hold_out"] = 0.0
    chosen |= {key: value for key, value in SETTINGS.items() if OmegaConf.select(config, key) is not None}
    for role in config.get("training", {}):
        keys = {f"training.{role}.{key}": value for key, value in TRAINING.items()}
        chosen |= {key: value for key, value in keys.items() if OmegaConf.select(config, key) is not None}
    return merged([*overrides, *CHOICES, *(f"{key}={value}" for key, value in chosen.items())])


def source_is_here(queries: str) -> bool:
    """Whether the queries of an id can be read."""
    try:
        return len(Queries(queries)) > 0
    except InputError:
        return False


def merged(overrides: Sequence[str]) -> list[str]:
    """Each key once, as it was set last: Hydra refuses a group that is chosen twice.

    >>> merged(["model=colbertv2", "codec.bits=1", "model=minilm"])
    ['model=minilm', 'codec.bits=1']
    """
    return [f"{key}={value}" if value else key for key, value in as_mapping(overrides).items()]
