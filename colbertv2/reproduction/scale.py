"""The same experiment, small: on a sample of its own collection where that is here, else of the embedded one."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbertv2.configuration.points import as_mapping
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError

DOCUMENTS, QUERIES = 120, 16
EMBEDDED = "stdlib-small/test"
CHOICES = ("model=minilm",)
SETTINGS = {  # where a configuration has them
    "document_maxlen": 64,
    "model.tokenization.document_maxlen": 64,
    "model.tokenization.query_maxlen": 32,
    "kmeans_iterations": 2,
    "mining.depth": 20,
    "mining.score_depth": 4,
    "mining.score_queries": 8,
    "mining.dev_depth": 4,
    "runtime.latency_queries": 5,
    "pipeline.centroid_analysis.sample_vectors": 4096,
}
TRAINING = {
    "n_way": 3,
    "batch_size": 4,
    "in_batch_groups": 1,
    "precision": "32-true",
    "validation_queries": 4,
    "validation_interval": 2,
    "optimization.steps": 2,
    "optimization.warmup_steps": 0,
}


def small(config: DictConfig, overrides: Sequence[str], at_hand: bool) -> list[str]:
    """Overrides of a small run, from those of the whole one and the configuration that they give.

    Where there are training queries, the sample's own stand for them: to show that all paths work, which they do not
    spoil.

    Args:
        at_hand: whether the collection may be asked for; else the embedded one stands in, and nothing is fetched.
    """
    sample = f"sample:{DOCUMENTS}:{QUERIES}:{(at_hand and source_of(config)) or EMBEDDED}"
    chosen: dict[str, object] = {"collection.documents.id": sample, "collection.eval.id": sample}
    if "ids" in config.collection.eval:
        chosen["collection.eval.ids"] = "null"
    for part in ("train", "dev"):
        if config.collection.get(part) is not None:
            chosen |= {f"collection.{part}.id": sample, f"collection.{part}.part": "null"}
            chosen[f"collection.{part}.dev_fraction"] = 0.0
    chosen |= {key: value for key, value in SETTINGS.items() if OmegaConf.select(config, key) is not None}
    for role in config.get("training", {}):
        keys = {f"training.{role}.{key}": value for key, value in TRAINING.items()}
        chosen |= {key: value for key, value in keys.items() if OmegaConf.select(config, key) is not None}
    kept = [word for word in overrides if not word.startswith("model.")]  # which are of another model
    return merged([*kept, *CHOICES, *(f"{key}={value}" for key, value in chosen.items())])


def source_of(config: DictConfig) -> str | None:
    """The id that is evaluated, if its judgements can be read: DPR's questions have none to draw a sample by."""
    try:
        return str(config.collection.eval.id) if Queries(config.collection.eval.id).judgements else None
    except (InputError, OmegaConfBaseException):  # such as a path that nobody named
        return None


def merged(overrides: Sequence[str]) -> list[str]:
    """Each key once, as it was set last: Hydra refuses a group that is chosen twice.

    >>> merged(["model=colbertv2", "codec.nbits=1", "model=minilm"])
    ['model=minilm', 'codec.nbits=1']
    """
    return [f"{key}={value}" if value else key for key, value in as_mapping(overrides).items()]
