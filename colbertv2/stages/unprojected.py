"""Stage: remove the projection of a checkpoint, so that token vectors have the backbone's hidden size."""

from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime


@stage(version=1)
def run(checkpoint: Artifact, *, out: Path, runtime: Runtime) -> None:
    """Write ``checkpoint`` with the identity as its projection and everything else unchanged."""
    import torch

    from colbertv2.modeling.colbert import ColBERT

    model = ColBERT.load(checkpoint.path)
    ColBERT(model.transformer, torch.eye(model.projection.inputs), model.tokenizer, model.pooling_weight).save(out)
