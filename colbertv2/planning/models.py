"""What the costs of several stages share: the model behind a checkpoint, and the lengths of texts as it reads them."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from colbertv2.artifacts.node import Node
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.tokenizer import Conventions, Tokenizer
from colbertv2.planning.estimate import Cost, Unknown
from colbertv2.planning.sizes import Lengths, Transformer, document_lengths, query_lengths, tokenizer_of
from colbertv2.runtime import Runtime
from colbertv2.training.recipe import Recipe

LOADING = 1.5  # seconds until a model is there to compute
TOKENISED = 4e5  # tokens a second
ID_BYTES = 36  # of a token's id in a list
LINE_BYTES = 30  # of a TREC run beside the three names: rank, score, spaces
RESULT_SECONDS = 1e-5  # to keep, write and read one document of a ranking
EXAMPLE_BYTES = 24  # of a candidate's score in a file of examples, and what stands around it and its id
TIMED_PASSES = 3  # over the queries whose latency is measured
STEP_SECONDS = 3e-10  # of an optimizer's step, for each byte of weights
RESULT_BYTES = 220  # of a query's document in memory, in all copies of a ranking


@dataclass(frozen=True)
class Model:
    """A checkpoint as far as its size goes."""

    transformer: Transformer
    tokenizer: Tokenizer
    dim: int

    @classmethod
    def of_backbone(cls, backbone: Backbone, maxlen: int) -> "Model":
        """An encoder without conventions of its own, such as a cross-encoder, that cuts its texts at ``maxlen``."""
        plain = Conventions(maxlen, maxlen, None, None, False, False, False)
        return cls(Transformer.of(backbone.directory), tokenizer_of(backbone, plain), 1)

    @classmethod
    def of(cls, checkpoint: Node) -> "Model":
        """The model of a checkpoint, trained or not: the untrained one furthest upstream was given its size.

        Raises:
            Unknown: that was not made by the stage ``initialise``.
        """
        projected = True
        while "checkpoint" in checkpoint.parents:
            projected = projected and checkpoint.stage.name != "unprojected"
            checkpoint = checkpoint.parents["checkpoint"]
        given = checkpoint.bound
        if not {"backbone", "conventions", "dim"} <= given.keys():
            raise Unknown(f"{checkpoint.key}: the size of its model")
        backbone = given["backbone"]
        transformer = Transformer.of(backbone.directory)
        dim = int(given["dim"]) if projected else transformer.hidden
        return cls(transformer, tokenizer_of(backbone, given["conventions"]), dim)

    def documents(self, documents: Collection, maxlen: int | None = None) -> Lengths:
        """The lengths of a collection."""
        return document_lengths(documents, self.tokenizer, maxlen)

    def queries(self, queries: Queries) -> Lengths:
        """The lengths of queries."""
        return query_lengths(queries, self.tokenizer)

    def encoding(self, lengths: Lengths, count: float | None = None) -> tuple[float, float]:
        """Operations, and seconds of tokenising, for so many texts (all by default)."""
        number = lengths.count if count is None else count
        flops = self.transformer.flops(number * lengths.tokens, number * lengths.squares)
        return flops, number * lengths.tokens / TOKENISED


def training(
    model: Model,
    recipe: Recipe,
    runtime: Runtime,
    queries: Lengths | None,
    candidate: tuple[float, float],
    validation: float,
    longest: float,
) -> Cost:
    """What ``fit`` takes.

    Args:
        queries: their lengths, where they are encoded apart.
        candidate: mean tokens, and mean of their square, of what is encoded for each candidate.
        validation: candidates of all dev queries that are looked at in an evaluation.
    """
    transformer, steps = model.transformer, recipe.optimization.steps
    per_candidate = transformer.flops(*candidate)
    per_query = transformer.flops(queries.tokens, queries.squares) if queries else 0.0
    again = recipe.chunk is not None or recipe.gradient_checkpointing
    batches = steps * recipe.accumulate * recipe.batch_size
    trained = batches * (recipe.n * per_candidate + per_query) * (4 if again else 3)
    evaluations = steps // recipe.validation_interval + 1 if validation else 0
    at_once = recipe.batch_size * recipe.n / runtime.devices
    kept = transformer.training_bytes((min(recipe.chunk, at_once) if recipe.chunk else at_once) * candidate[0], longest)
    if recipe.gradient_checkpointing:
        kept /= transformer.layers
    on_cpu = runtime.torch_device.type == "cpu"
    return Cost(
        flops=trained + evaluations * validation * per_candidate,
        seconds=LOADING + 3 + steps * transformer.weights * STEP_SECONDS,
        memory=transformer.weights * (6 if on_cpu else 3) + (kept if on_cpu else 0),
        disk=checkpoint_bytes(model.transformer, model.tokenizer) + steps * 20,
        kind=recipe.precision,
    )


def checkpoint_bytes(transformer: Transformer, tokenizer: Tokenizer) -> float:
    """Bytes of a saved model: its weights and its vocabulary."""
    return transformer.weights + len(tokenizer.tokenizer.get_vocab()) * 24


def ranking_bytes(queries: float, depth: float, query_id: float, document_id: float, tag: float) -> float:
    """Bytes of a TREC run with ``depth`` documents a query, from the mean bytes of its names."""
    return queries * depth * (query_id + document_id + tag + LINE_BYTES)


def mean(values: Iterable[float]) -> float:
    """Of at least one value."""
    return fmean(values)
