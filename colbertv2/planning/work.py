"""The cost of a step on a reference machine: for each stage, a formula in the sizes of its inputs.

A step is a node of a plan or a finished artifact. Both give their arguments and the sizes of their inputs, so the same
table applies to predictions and to recorded runs. Texts are measured in characters, so no tokenizer is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from hydra.utils import instantiate

from colbertv2.planning.transformers import transformer

RATE = 1e11  # floating-point operations per second of the reference machine: about two cores of a server
BANDWIDTH = 2.3e10  # bytes per second that it reads and writes in memory
ADAM_MOVES = 7  # AdamW reads a weight, its gradient and two moments, and writes three of them
TRANSFORMER_SHARE = 0.4  # the share of that rate that a transformer reaches (experiments/LOG.md, 2026-11-29)
CHARACTERS = 4.0  # per token
SCORED = 0.75  # the share of a document's tokens that are kept: vectors of punctuation are not
GROUPED_SHARE = 0.3  # the share of exact assignment's products that assignment by groups computes
REDUCED_SECONDS = 3e-5  # per vector that is pooled by Ward's method; the other rules are faster
LINE_BYTES = 75.0  # per document in a ranking
SHARD_DOCUMENTS = 25_000  # documents whose vectors are in memory at once
LATENCY_SEARCHES = 150  # searches that measure latency, in addition to one per query
MODEL_ROLES = ("checkpoint", "encoder", "before", "embeddings", "index", "teacher")  # parents that lead to the model
RESULT_ROLES = ("candidates", "ranking", "scored", "examples")  # parents whose documents a step reads


@dataclass(frozen=True)
class Cost:
    """The cost of one step: seconds besides those of the last two, peak memory and disk in bytes, operations.

    The memory is that of the whole process. ``moved`` are bytes that optimizer steps read and write in memory.
    """

    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    flops: float = 0.0
    moved: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """The cost of both, one after the other, if the memory of the first is held to the end."""
        return Cost(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


ANY_STEP = Cost(seconds=0.5, memory=750e6, disk=5e3)  # imports, and a few small files


@dataclass(eq=False)
class Step:
    """The sizes of a node or of a finished artifact.

    Args:
        stage: name of its stage.
        arguments: as in ``artifact.json``, with parents as addresses.
        inputs: sizes of the components that have a method ``size``, by argument.
        parents: the steps it reads, by role, as far as they are known.
        bytes: bytes on disk of a finished artifact.
    """

    stage: str
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    parents: Mapping[str, Step]
    bytes: float | None = None

    @cached_property
    def cost(self) -> Cost:
        """The cost by the table below.

        Raises:
            Exception: of any type, if the stage is not in the table or a size it needs is not known.
        """
        return ANY_STEP + STAGES[self.stage](self)

    @cached_property
    def kind(self) -> str:
        """A text that is the same for steps that compute in the same way, here and in the index they read.

        It consists of the classes of the components, the precision, and whether vectors are clustered by groups.
        """
        arguments = [value for value in self.arguments.values() if isinstance(value, Mapping)]
        names = [str(value["_target_"]).rpartition(".")[2] for value in arguments if "_target_" in value]
        names += [str(one["precision"]) for one in (self.arguments, *arguments) if "precision" in one]
        names += ["grouped" for one in arguments if one.get("group_search_radius") is not None]
        return " ".join([*names, *(self.parents[role].kind for role in self.parents if role == "index")])

    @property
    def disk(self) -> float:
        """Bytes on disk, measured if it is finished, else estimated."""
        return self.cost.disk if self.bytes is None else self.bytes

    @property
    def precision(self) -> str:
        """The precision in which it computes."""
        return (self.arguments.get("recipe") or self.arguments).get("precision") or "32-true"

    @property
    def backbone(self) -> str:
        """The backbone of its model."""
        return self.of_model("backbone")["name"]

    @property
    def dim(self) -> int:
        """Number of dimensions of a token vector, as the nearest step upstream says."""
        return int(self.arguments["dim"]) if "dim" in self.arguments else self.towards_model.dim

    def of_model(self, name: str) -> Any:
        """An argument of the step upstream that names the backbone of its model; ``None`` if it has none."""
        return self.arguments.get(name) if self.arguments.get("backbone") else self.towards_model.of_model(name)

    @property
    def towards_model(self) -> Step:
        """The step that this one has its model from, directly or not."""
        return next(self.parents[role] for role in MODEL_ROLES if role in self.parents)

    @property
    def embeddings(self) -> Step:
        """The step upstream that read its documents."""
        parent = self.parents.get("index") or self.parents.get("embeddings")
        return parent.embeddings if parent else self

    @property
    def vectors(self) -> float:
        """Number of vectors of its documents, after a reduction if there is one."""
        index = self.parents.get("index", self)
        encoded = index.parents.get("embeddings", index)
        if encoded.stage == "streamed":  # which keeps none of them
            return encoded.texts("documents") * encoded.vectors_per_document
        return encoded.disk / (2 * self.dim)

    @property
    def vectors_per_document(self) -> float:
        """Mean number of vectors that its model makes of each of its documents."""
        return (self.of_model("head") or {}).get("num_vectors") or SCORED * self.tokens("documents")

    def texts(self, name: str) -> float:
        """Number of texts in the argument ``name``, ``queries`` or ``documents``."""
        return (self if name in self.inputs else self.embeddings).inputs[name]["texts"]

    def tokens(self, name: str, maxlen: float | None = None) -> float:
        """Mean number of tokens per query or document, truncated at ``maxlen``, or at the model's limit if ``None``."""
        return fmean(min(maxlen or self.maxlen(name), n / CHARACTERS + 3) for n in self.inputs[name]["lengths"])

    def maxlen(self, name: str) -> float:
        """Number of tokens at which the model truncates queries or documents."""
        key = "query_maxlen" if name == "queries" else "document_maxlen"
        own, tokenization = self.arguments.get(key), self.of_model("tokenization") or {}
        return float(own or tokenization.get(key) or {"query_maxlen": 32, "document_maxlen": 180}[key])

    @property
    def results(self) -> float:
        """Number of documents in its ranking or candidates, over all queries."""
        if "depth" in self.arguments and "queries" in self.inputs:
            queries = self.arguments.get("num_queries") or self.texts("queries")
            return queries * min(self.arguments["depth"], self.texts("documents"))
        if mixed := [parent for role, parent in self.parents.items() if role.startswith("examples.")]:
            return sum(parent.results for parent in mixed)
        if combined := [parent for role, parent in self.parents.items() if role.startswith("scored.")]:
            return min(parent.results for parent in combined)
        return next(self.parents[role] for role in RESULT_ROLES if role in self.parents).results

    @cached_property
    def clustering(self) -> Any:
        """The clustering component of this step or of its centroids; ``None`` if there are no centroids."""
        if self.arguments.get("clustering"):
            return instantiate(self.arguments["clustering"])
        roles = (role for role in ("centroids", "index", "embeddings") if role in self.parents)
        return next((self.parents[role].clustering for role in roles), None)

    @property
    def centroids(self) -> float:
        """Number of centroids; 0 if there are none."""
        return self.clustering.wanted(self.vectors) if self.clustering else 0


def loaded(step: Step, tokens: float = 0.0) -> Cost:
    """The cost of loading a step's transformer and encoding ``tokens`` tokens."""
    weights, size = transformer(step.backbone)
    return Cost(seconds=1, memory=2 * size, flops=2 * weights * tokens / TRANSFORMER_SHARE)


def saved(step: Step) -> Cost:
    """The cost of writing a checkpoint; includes the imports, as this is the first step of most pipelines."""
    return Cost(seconds=2, disk=transformer(step.backbone)[1])


def rows(step: Step, seconds: float = 0.0, memory: float = 0.0, disk: float = LINE_BYTES) -> Cost:
    """The cost of writing or reading a ranking or candidates, from the cost of each line."""
    return Cost(seconds * step.results, memory * step.results, disk * step.results)


def initialise(step: Step) -> Cost:
    """Only a projection by PCA reads documents."""
    sample = step.arguments["sample_documents"] if step.arguments["projection"] == "pca" else 0
    return loaded(step, min(sample, step.texts("documents")) * step.tokens("documents")) + saved(step)


def encode(step: Step) -> Cost:
    """The vectors of the tokens that are kept are float16; a shard of them is in memory several times."""
    tokens = step.texts("documents") * step.tokens("documents")
    disk = step.texts("documents") * step.vectors_per_document * 2 * step.dim
    held = 5 * disk * min(1, SHARD_DOCUMENTS / max(1, step.texts("documents")))
    return loaded(step, tokens) + Cost(tokens / 4e5, held, disk)


def reduce(step: Step) -> Cost:
    """The budget says how many vectors are left; a shard of them is in memory before and after.

    A rule that needs weights of the tokens encodes all documents once more.
    """
    before, budget, documents = step.vectors, step.inputs["reduction"], step.texts("documents")
    kept = before / (budget["factor"] or 1)
    if budget["num_vectors"]:
        kept = min(before, documents * budget["num_vectors"])
    held = 6 * step.dim * before * min(1, SHARD_DOCUMENTS / max(1, documents))
    cost = Cost(before * REDUCED_SECONDS, held, kept * 2 * step.dim)
    if not budget.get("token_weights"):
        return cost
    return cost + loaded(step, documents * step.embeddings.tokens("documents"))


def train(step: Step) -> Cost:
    """Training and its validations; a backward pass counts as three forward passes. A released teacher is copied."""
    recipe = step.arguments["recipe"]
    if recipe is None:
        return loaded(step) + saved(step)
    weights, size = transformer(step.backbone)
    passages, steps = recipe["batch_size"] * recipe["n_way"], recipe["optimization"]["steps"]
    length = step.tokens("documents") + step.tokens("queries")
    passes = 5 if recipe["gradient_cache_chunk"] or recipe["gradient_checkpointing"] else 4
    read = passes * passages * steps * recipe["gradient_accumulation_steps"]
    if validation := step.parents.get("validation"):
        queries = step.texts("dev_queries" if "dev_queries" in step.inputs else "queries")
        share = min(1, recipe["validation_queries"] / queries)
        read += steps / recipe["validation_interval"] * share * validation.results
    searched, held = searched_documents(recipe), 0.0
    if searched:
        held = max(searched) * step.tokens("documents") * step.dim * 2
        interval = recipe["search_validation"]["interval"] or recipe["validation_interval"]
        read += (1 + steps / interval) * sum(searched) * step.tokens("documents") / length
    activations = min(passages, recipe["gradient_cache_chunk"] or passages) * length * math.sqrt(weights) * 200
    updates = Cost(memory=4 * size + activations + held, moved=ADAM_MOVES * steps * size)
    return loaded(step, read * length) + updates + saved(step)


def searched_documents(recipe: Mapping[str, Any]) -> list[float]:
    """The number of documents of each collection that is searched during a training."""
    validation = recipe.get("search_validation") or {"collections": {}}
    sizes = (instantiate(one["documents"]).size()["texts"] for one in validation["collections"].values())
    return [min(size, validation["max_documents"]) for size in sizes]


def score(step: Step) -> Cost:
    """A cross-encoder reads every candidate with its query; the stage also copies the ranking of the candidates."""
    maxlen = step.parents["teacher"].arguments["maxlen"]
    pair = min(maxlen, step.tokens("documents", maxlen) + step.tokens("queries", maxlen))
    return loaded(step, pair * step.results) + rows(step) + rows(step.parents["candidates"])


def sampled_vectors(step: Step) -> tuple[float, float]:
    """The number of vectors that k-means sees, and of those that are held out."""
    clustering, documents = step.clustering, step.texts("documents")
    sampled = clustering.sampled_documents(int(documents)) / documents * step.vectors
    points = min(sampled, step.centroids * clustering.max_points_per_centroid)
    return points, min(max(sampled / 20, sampled - points), 50_000)


def undivided(step: Step) -> float:
    """The share of a stage's operations that one job does before the others start: k-means, then all assign."""
    if step.stage == "streamed":
        alone = encode(step).flops + 2 * step.dim * step.centroids * step.vectors  # of all documents
        return max(0.0, 1 - alone / step.cost.flops)
    if step.stage != "centroids":
        return 0.0
    learned = step.clustering.kmeans_iterations * sampled_vectors(step)[0]
    return learned / (learned + step.vectors)


def centroids(step: Step) -> Cost:
    """k-means over the vectors of sampled documents, and the assignment of every vector to its centroid."""
    clustering, vectors = step.clustering, step.vectors
    points, held_out = sampled_vectors(step)
    products = step.centroids * (clustering.kmeans_iterations * points + vectors)
    share = 1 if clustering.group_search_radius is None else GROUPED_SHARE
    disk = step.dim * (step.centroids * clustering.centroid_bits / 8 + held_out * 4) + vectors * 2
    return Cost(vectors / 1e6, (points + held_out) * step.dim * 12, disk, 2 * step.dim * products * share)


def compressed(step: Step, codec: Mapping[str, float]) -> float:
    """The bytes of an index: compressed vectors, by the codec's size of a vector, and centroids."""
    bits = step.clustering.centroid_bits if step.clustering else 0
    values = step.vectors * step.dim
    return codec["bytes_at_128_dimensions"] / 128 * values + step.centroids * step.dim * bits / 8


def index(step: Step) -> Cost:
    """Every vector is compressed; in finishing, the documents of each centroid are listed."""
    disk = compressed(step, step.inputs["codec"])
    return Cost(0.5 + step.vectors * step.dim / 1e8, 2**16 * step.dim * 20 + 12 * step.vectors, disk)


def streamed(step: Step) -> Cost:
    """A sample is encoded and clustered, then all documents are encoded and compressed by each codec; none is kept."""
    codecs = [instantiate(codec).size() for codec in step.arguments["codecs"].values()]
    learned, read, texts = centroids(step), encode(step), step.texts("documents")
    share = step.clustering.sampled_documents(int(texts)) / texts
    seconds = learned.seconds + read.seconds + len(codecs) * step.vectors * step.dim / 1e8
    disk = sum(compressed(step, codec) for codec in codecs)
    return Cost(seconds, max(learned.memory, read.memory), disk, learned.flops + (1 + share) * read.flops)


def search(step: Step) -> Cost:
    """The queries are encoded and compared with all centroids; the engine knows its own work."""
    queries = step.texts("queries") + LATENCY_SEARCHES
    each = 1e-3 + instantiate(step.arguments["engine"]).seconds_per_query(step.vectors, step.centroids)
    searched = step.parents.get("index") or step.parents["embeddings"]
    held = compressed(searched, searched.inputs["codec"]) if searched.stage == "streamed_index" else searched.disk
    tokens = queries * step.maxlen("queries")
    scan = Cost(queries * each, held, 0, tokens * 2 * step.dim * step.centroids)
    return loaded(step, tokens) + scan + rows(step, 1e-5)


def bm25(step: Step) -> Cost:
    """The index, and a search for each query."""
    characters = step.texts("documents") * step.inputs["documents"]["characters"]
    searches = (step.texts("queries") + LATENCY_SEARCHES) * (2e-4 + step.texts("documents") * 2e-8)
    return Cost(characters / 2e6 + searches, 8 * characters) + rows(step)


def fixed_dimensional(step: Step) -> Cost:
    """The queries are encoded by the model; the encoding knows its own work."""
    queries = step.texts("queries") + LATENCY_SEARCHES
    encoding = instantiate(step.arguments["encoding"])
    seconds, held = encoding.predicted(step.texts("documents"), step.vectors, queries, step.dim)
    return loaded(step, queries * step.maxlen("queries")) + Cost(seconds, held) + rows(step, 1e-5)


def decomposition(step: Step) -> Cost:
    """All vectors are scored several times."""
    values = step.vectors * step.dim
    return loaded(step) + Cost(7, 8 * values, 500_000, step.texts("queries") * values * 64)


def supervision(step: Step) -> Cost:
    """The candidates of some queries are encoded with two checkpoints."""
    passages = step.results * step.arguments["num_queries"] / max(1.0, step.texts("queries"))
    return loaded(step, 2 * passages * step.tokens("documents")) + Cost(4, 0, 150_000)


def rewritten(step: Step) -> Cost:
    """A ranking or candidates are read and written."""
    return rows(step, 1e-5, 220)


STAGES: dict[str, Callable[[Step], Cost]] = {
    "initialise": initialise,
    **dict.fromkeys(("unprojected", "sliced", "average"), lambda step: loaded(step) + saved(step)),
    "encode": encode,
    "reduce": reduce,
    "train": train,
    "teacher": train,
    "score": score,
    # The scores of each teacher are read, normalised and averaged.
    "ensemble": lambda step: rewritten(step) + rows(step, 2e-5 * len(step.parents), disk=0),
    "centroids": centroids,
    "centroid_analysis": lambda step: step.parents["index"].parents["centroids"].cost,
    "index": index,
    "streamed": streamed,
    "streamed_index": lambda step: Cost(0.1),  # its files are links to those of the step before
    "geometry": lambda step: Cost(step.vectors / 1e6, 2**16 * step.dim * 16, 500),
    "search": search,
    "pools": search,
    "rerank": lambda step: loaded(step, step.texts("queries") * step.maxlen("queries")) + rows(step, 2e-4),
    "bm25": bm25,
    "single_vector": lambda step: loaded(step, step.texts("documents") * step.tokens("documents", 256)) + rows(step),
    "fixed_dimensional": fixed_dimensional,
    "decomposition": decomposition,
    "supervision": supervision,
    **dict.fromkeys(("evaluate", "agreement"), lambda step: rows(step, 2e-6, 600, 0.1)),
    **dict.fromkeys(("table", "suite", "index_size"), lambda step: Cost(3, 60e6, 60_000)),
    **dict.fromkeys(("examples", "mixed_examples", "random_candidates", "external_ranking"), rewritten),
}
