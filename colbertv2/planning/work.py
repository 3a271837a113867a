"""How much a step costs on a reference machine, by stage: closed forms from the sizes of its inputs.

A step is a node of a plan or a finished artifact; both tell their arguments and the sizes of their inputs, so one table
serves predictions and the reading of recorded runs. Texts are measured by characters: no tokenizer is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any

from hydra.utils import instantiate

from colbertv2.files import read_json
from colbertv2.modeling.backbone import locate

RATE = 1e11  # floating-point operations a second of the reference machine: about two cores of a server
TRANSFORMER_SHARE = 0.4  # of that rate, which a transformer reaches (experiments/LOG.md, 2026-11-29)
CHARACTERS = 4.0  # of a token
SCORED = 0.75  # of a document's tokens: the vectors of punctuation are not kept
GROUPED_SHARE = 0.3  # of the products of exact assignment that assignment by groups computes
LINE_BYTES = 75.0  # of one document in a ranking
SHARD_DOCUMENTS = 25_000  # whose vectors are held at once
LATENCY_SEARCHES = 150  # beside those of the queries themselves
MODEL_ROLES = ("checkpoint", "encoder", "before", "embeddings", "index", "teacher")  # where a step has its model from
APPROXIMATE_SECONDS = {"Cascade": 5e-6, "Plaid": 3e-5, "VanillaColBERTv2": 3e-5}  # a query, by the root of the vectors
EXACT_SECONDS, DECODED_SECONDS = 6e-8, 2e-7  # a query and vector, scored by kernels; decoded, where no centroids are


@dataclass(frozen=True)
class Cost:
    """What one step takes.

    Args:
        seconds: beside those of ``flops``, floating-point operations. memory: bytes of the whole process at its peak.
        disk: bytes written.
    """

    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """One after the other, the memory of both held to the end."""
        return Cost(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


ANY_STEP = Cost(seconds=0.5, memory=750e6, disk=5e3)  # the imports, and a file or two of settings


@dataclass(eq=False)
class Step:
    """A node or a finished artifact, as far as its size goes.

    Args:
        stage: name of its stage. arguments: as in ``artifact.json``; parents stand as addresses.
        inputs: sizes of the components that tell theirs (``Component.size``), by argument.
        parents: the steps it reads, by role, as far as they are known. bytes: what it holds, where it is finished.
    """

    stage: str
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    parents: Mapping[str, Step]
    bytes: float | None = None

    @cached_property
    def cost(self) -> Cost:
        """By the table below; fails where the stage is not in it, or something it needs is not known."""
        return ANY_STEP + STAGES[self.stage](self)

    @cached_property
    def kind(self) -> str:
        """How it computes: the classes of its components, precision, clustering by groups, and those of its index."""
        arguments = [value for value in self.arguments.values() if isinstance(value, Mapping)]
        names = [class_of(value) for value in arguments if "_target_" in value]
        names += [str(one["precision"]) for one in (self.arguments, *arguments) if "precision" in one]
        names += ["grouped" for one in arguments if one.get("group_search_radius") is not None]
        return " ".join([*names, *(self.parents[role].kind for role in self.parents if role == "index")])

    @property
    def disk(self) -> float:
        """Bytes that it holds or will hold."""
        return self.cost.disk if self.bytes is None else self.bytes

    def upstream(self, found: Callable[[Step], Any], *roles: str) -> Step:
        """This step if it is ``found``, else the same of the parent in the first of ``roles`` that there is."""
        return (
            self if found(self) else next(self.parents[r] for r in roles if r in self.parents).upstream(found, *roles)
        )

    @property
    def origin(self) -> Step:
        """The step that names the backbone of its model."""
        return self.upstream(lambda step: step.arguments.get("backbone"), *MODEL_ROLES)

    @property
    def embeddings(self) -> Step:
        """The step that encoded its documents."""
        return self.upstream(lambda step: step.stage == "encode", "index", "embeddings")

    @property
    def vectors(self) -> float:
        """How many token vectors there are of its documents."""
        return self.embeddings.disk / (2 * self.dim)

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return int(self.origin.arguments["dim"])

    def texts(self, name: str) -> float:
        """How many queries or documents there are."""
        return (self if name in self.inputs else self.embeddings).inputs[name]["texts"]

    def tokens(self, name: str, maxlen: float | None = None) -> float:
        """Mean length of queries or documents, cut at ``maxlen`` or where the model does."""
        return fmean(min(maxlen or self.maxlen(name), n / CHARACTERS + 3) for n in self.inputs[name]["lengths"])

    def maxlen(self, name: str) -> float:
        """Tokens at which the model cuts queries or documents."""
        key = "query_maxlen" if name == "queries" else "document_maxlen"
        own, tokenization = self.arguments.get(key), self.origin.arguments.get("tokenization") or {}
        return float(own or tokenization.get(key) or {"query_maxlen": 32, "document_maxlen": 180}[key])

    @property
    def results(self) -> float:
        """Documents in a ranking or file of candidates, over all queries."""
        if "depth" in self.arguments and "queries" in self.inputs:
            queries = self.arguments.get("num_queries") or self.texts("queries")
            return queries * min(self.arguments["depth"], self.texts("documents"))
        return next(
            self.parents[r] for r in ("candidates", "ranking", "scored", "examples") if r in self.parents
        ).results

    @cached_property
    def clustering(self) -> Any:
        """The component that finds its centroids; ``None`` without any."""
        if self.arguments.get("clustering"):
            return instantiate(self.arguments["clustering"])
        nearest = self.parents.get("centroids") or self.parents.get("index")
        return nearest and nearest.clustering

    @property
    def centroids(self) -> float:
        """How many centroids it finds or has."""
        return self.clustering.wanted(self.vectors) if self.clustering else 0


def class_of(component: Mapping[str, Any]) -> str:
    """The name of the class that a component's configuration names."""
    return str(component["_target_"]).rpartition(".")[2]


@cache
def transformer(backbone: str) -> tuple[float, float]:
    """Weights of a transformer's layers, which every token is multiplied with, and the bytes of all its weights."""
    folder = locate(backbone)
    config = read_json(folder / "config.json")
    hidden = config["hidden_size"]
    layers = config["num_hidden_layers"] * (4 * hidden**2 + 2 * hidden * config.get("intermediate_size", 4 * hidden))
    return layers, float(sum(file.stat().st_size for file in folder.rglob("*.safetensors")))


def loaded(step: Step, tokens: float = 0.0) -> Cost:
    """To load a step's transformer and to encode so many tokens."""
    weights, size = transformer(step.origin.arguments["backbone"]["name"])
    return Cost(seconds=1, memory=2 * size, flops=2 * weights * tokens / TRANSFORMER_SHARE)


def saved(step: Step) -> Cost:
    """To write a checkpoint, and for the first step of most pipelines to import what computes."""
    return Cost(seconds=2, disk=transformer(step.origin.arguments["backbone"]["name"])[1])


def rows(step: Step, seconds: float = 0.0, memory: float = 0.0, disk: float = LINE_BYTES) -> Cost:
    """To write or read rankings or candidates, by what each of their lines takes."""
    return Cost(seconds * step.results, memory * step.results, disk * step.results)


def initialise(step: Step) -> Cost:
    """Only principal components need a look at some documents."""
    sample = step.arguments["sample_documents"] if step.arguments["projection"] == "pca" else 0
    return loaded(step, min(sample, step.texts("documents")) * step.tokens("documents")) + saved(step)


def encode(step: Step) -> Cost:
    """Vectors of the tokens that are scored, in 16-bit floats."""
    tokens = step.texts("documents") * step.tokens("documents")
    disk = SCORED * tokens * 2 * step.dim
    held = 5 * disk * min(1, SHARD_DOCUMENTS / max(1, step.texts("documents")))
    return loaded(step, tokens) + Cost(tokens / 4e5, held, disk)


def train(step: Step) -> Cost:
    """Forward and backward, which takes three times as long, and the validations; a released teacher stays as it is."""
    recipe = step.arguments["recipe"]
    if recipe is None:
        return loaded(step) + saved(step)
    weights, size = transformer(step.origin.arguments["backbone"]["name"])
    passages, steps = recipe["batch_size"] * recipe["n_way"], recipe["optimization"]["steps"]
    length = step.tokens("documents") + step.tokens("queries")
    passes = 5 if recipe["gradient_cache_chunk"] or recipe["gradient_checkpointing"] else 4
    read = passes * passages * steps * recipe["gradient_accumulation_steps"]
    if validation := step.parents.get("validation"):
        queries = step.texts("dev_queries" if "dev_queries" in step.inputs else "queries")
        share = min(1, recipe["validation_queries"] / queries)
        read += steps / recipe["validation_interval"] * share * validation.results
    activations = min(passages, recipe["gradient_cache_chunk"] or passages) * length * math.sqrt(weights) * 200
    return loaded(step, read * length) + Cost(steps * size * 3e-10, 4 * size + activations) + saved(step)


def score(step: Step) -> Cost:
    """A cross-encoder reads every candidate with its query."""
    maxlen = step.parents["teacher"].arguments["maxlen"]
    pair = min(maxlen, step.tokens("documents", maxlen) + step.tokens("queries", maxlen))
    return loaded(step, pair * step.results) + rows(step) + rows(step.parents["candidates"])  # whose ranking it keeps


def centroids(step: Step) -> Cost:
    """k-means over the vectors of sampled documents, then the nearest centroid of every vector."""
    clustering, vectors, documents = step.clustering, step.vectors, step.texts("documents")
    sampled = clustering.sampled_documents(int(documents)) / documents * vectors
    points = min(sampled, step.centroids * clustering.max_points_per_centroid)
    held_out = min(max(sampled / 20, sampled - points), 50_000)
    products = step.centroids * (clustering.kmeans_iterations * points + vectors)
    share = 1 if clustering.group_search_radius is None else GROUPED_SHARE
    disk = step.dim * (step.centroids * clustering.centroid_bits / 8 + held_out * 4) + vectors * 2
    return Cost(vectors / 1e6, (points + held_out) * step.dim * 12, disk, 2 * step.dim * products * share)


def index(step: Step) -> Cost:
    """What the codec says that a vector takes, and the centroids."""
    values, bits = step.vectors * step.dim, step.clustering.centroid_bits if step.clustering else 0
    disk = step.inputs["codec"]["bytes_at_128_dimensions"] / 128 * values + step.centroids * step.dim * bits / 8
    return Cost(0.5 + values / 1e8, 2**16 * step.dim * 20 + 12 * step.vectors, disk)


def search(step: Step) -> Cost:
    """Queries are encoded and compared with all centroids; the rest is the engine's."""
    queries = step.texts("queries") + LATENCY_SEARCHES
    exact = step.vectors * (EXACT_SECONDS if step.centroids else DECODED_SECONDS)
    rate = APPROXIMATE_SECONDS.get(class_of(step.arguments["engine"]))
    each = 1e-3 + (rate * math.sqrt(step.vectors) if rate else exact)
    held = (step.parents.get("index") or step.parents["embeddings"]).disk
    tokens = queries * step.maxlen("queries")
    scan = Cost(queries * each, held, 0, tokens * 2 * step.dim * step.centroids)
    return loaded(step, tokens) + scan + rows(step, 1e-5)


def bm25(step: Step) -> Cost:
    """The index, then a search for each query."""
    characters = step.texts("documents") * step.inputs["documents"]["characters"]
    searches = (step.texts("queries") + LATENCY_SEARCHES) * (2e-4 + step.texts("documents") * 2e-8)
    return Cost(characters / 2e6 + searches, 8 * characters) + rows(step)


def decomposition(step: Step) -> Cost:
    """All vectors are scored several times over."""
    values = step.vectors * step.dim
    return loaded(step) + Cost(7, 8 * values, 500_000, step.texts("queries") * values * 64)


def supervision(step: Step) -> Cost:
    """The candidates of some queries, encoded by two checkpoints."""
    passages = step.results * step.arguments["num_queries"] / max(1.0, step.texts("queries"))
    return loaded(step, 2 * passages * step.tokens("documents")) + Cost(4, 0, 150_000)


STAGES: dict[str, Callable[[Step], Cost]] = {
    "initialise": initialise,
    "unprojected": lambda step: loaded(step) + saved(step),
    "encode": encode,
    "train": train,
    "teacher": train,
    "score": score,
    "centroids": centroids,
    "centroid_analysis": lambda step: step.parents["index"].parents["centroids"].cost,
    "index": index,
    "search": search,
    "pools": search,
    "rerank": lambda step: loaded(step, step.texts("queries") * step.maxlen("queries")) + rows(step, 2e-4),
    "bm25": bm25,
    "single_vector": lambda step: loaded(step, step.texts("documents") * step.tokens("documents", 256)) + rows(step),
    "decomposition": decomposition,
    "supervision": supervision,
    "evaluate": lambda step: rows(step, 2e-6, 600, 0.1),
    "agreement": lambda step: rows(step, 2e-6, 600, 0.1),
    "table": lambda step: Cost(3, 60e6, 60_000),
    "index_size": lambda step: Cost(3, 60e6, 60_000),
    "examples": lambda step: rows(step, 1e-5, 220),
    "random_candidates": lambda step: rows(step, 1e-5, 220),
    "external_ranking": lambda step: rows(step, 1e-5, 220),
}
