"""How much work a step is, by stage: closed forms from the sizes of its inputs.

A step is a node of a plan or a finished artifact; both tell their arguments and the sizes of their inputs, so one table
serves predictions and the reading of recorded runs. Texts are measured by characters: no tokenizer is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any, NamedTuple

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.compression.clustering.rules import num_centroids_rule
from colbertv2.files import read_json
from colbertv2.modeling.backbone import locate

CHARACTERS = 4.0  # of a token
SCORED = 0.75  # of a document's tokens: the vectors of punctuation are not kept
GROUPED_SHARE = 0.3  # of the products of exact assignment that assignment by groups computes
LINE_BYTES = 60.0  # of one document in a ranking
MODEL_SECONDS = 2.0  # to import what computes and to load a model
MODEL_ROLES = ("checkpoint", "encoder", "before", "embeddings", "index", "teacher")  # where a step has its model from
RATE = 1e11  # floating-point operations a second of the reference machine: about two cores of a server


class Work(NamedTuple):
    """What one step takes on the reference machine.

    Args:
        flops: floating-point operations. seconds: everything else. memory: bytes beside those of the imports.
        disk: bytes written. kind: only runs of one kind are compared with each other.
    """

    flops: float
    seconds: float
    memory: float
    disk: float
    kind: str = ""

    @property
    def reference_seconds(self) -> float:
        """All of it, in seconds."""
        return self.flops / RATE + self.seconds


@dataclass(eq=False)
class Step:
    """A node or a finished artifact, as far as its size goes.

    Args:
        stage: name of its stage. arguments: as in ``artifact.json``; parents stand as addresses.
        inputs: sizes of the components that tell theirs (``Component.size``), by argument.
        parents: the steps it reads, by role. bytes: what it holds, where it is finished.
    """

    stage: str
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    parents: Mapping[str, Step]
    bytes: float | None = None

    @classmethod
    def of_node(cls, node: Node, finished: Callable[[Node], float | None], seen: dict[str, Step]) -> Step:
        """A node; ``finished`` tells the bytes of one whose artifact is there."""
        if node.address not in seen:
            parents = {role: cls.of_node(parent, finished, seen) for role, parent in node.parents.items()}
            seen[node.address] = cls(node.stage.name, node.arguments, node.sizes, parents, finished(node))
        return seen[node.address]

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> Step:
        """A finished artifact whose ancestors are still there."""
        record = artifact.record
        parents = {role: cls.of_artifact(parent) for role, parent in artifact.parents.items()}
        return cls(record["stage"], record["arguments"], record["inputs"], parents, record["bytes"])

    @cached_property
    def work(self) -> Work:
        """By the table below.

        Raises:
            LookupError, TypeError: the stage is not in the table, or something it needs is not known.
        """
        return STAGES[self.stage](self)

    @property
    def disk(self) -> float:
        """Bytes that it holds or will hold."""
        return self.work.disk if self.bytes is None else self.bytes

    def texts(self, name: str) -> float:
        """How many texts an argument holds."""
        return self.inputs[name]["texts"]

    def tokens(self, name: str, maxlen: float) -> float:
        """Mean number of tokens of an argument's texts, cut at ``maxlen``."""
        return fmean(min(maxlen, length / CHARACTERS + 3) for length in self.inputs[name]["lengths"])

    @property
    def untrained(self) -> Step:
        """The untrained checkpoint that this step's model began as."""
        step = self
        while step.stage != "initialise":
            step = step.parents[next(role for role in MODEL_ROLES if role in step.parents)]
        return step

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return int(self.untrained.arguments["dim"])

    def maxlen(self, of: str) -> float:
        """Tokens at which ``query`` or ``document`` is cut."""
        given = self.arguments.get(f"{of}_maxlen") or (self.untrained.arguments["tokenization"] or {}).get(
            f"{of}_maxlen"
        )
        return float(given or {"query": 32, "document": 180}[of])

    @property
    def vectors(self) -> float:
        """Token vectors of the embeddings that this step is, or reads."""
        step = self
        while step.stage != "encode":
            step = step.parents["index" if "index" in step.parents else "embeddings"]
        return step.disk / (2 * step.dim)

    @property
    def results(self) -> float:
        """Documents in a ranking or file of candidates, over all queries."""
        if "depth" in self.arguments and "queries" in self.inputs:
            return (self.arguments.get("num_queries") or self.texts("queries")) * self.arguments["depth"]
        role = next(role for role in ("candidates", "ranking", "scored", "examples") if role in self.parents)
        return self.parents[role].results


@cache
def parameters(backbone: str) -> float:
    """Weights of a transformer that every token is multiplied with: those of its layers."""
    config = read_json(locate(backbone) / "config.json")
    hidden = config["hidden_size"]
    return config["num_hidden_layers"] * (4 * hidden**2 + 2 * hidden * config.get("intermediate_size", 4 * hidden))


@cache
def weight_bytes(backbone: str) -> float:
    """Bytes of its saved weights."""
    return float(sum(file.stat().st_size for file in locate(backbone).rglob("*.safetensors")))


def model(step: Step) -> tuple[float, float]:
    """Parameters of a step's transformer, and the bytes of its weights."""
    source = step.arguments.get("backbone") or step.untrained.arguments["backbone"]
    return parameters(source["name"]), weight_bytes(source["name"])


def initialise(step: Step) -> Work:
    size = weight_bytes(step.arguments["backbone"]["name"])
    return Work(0, MODEL_SECONDS + 2, 2 * size, size)


def encode(step: Step) -> Work:
    weights, size = model(step)
    tokens = step.texts("documents") * step.tokens("documents", step.maxlen("document"))
    disk = SCORED * tokens * 2 * step.dim
    return Work(
        2 * weights * tokens, MODEL_SECONDS + tokens / 4e5, 2 * size + 5 * disk, disk, step.arguments["precision"]
    )


def train(step: Step) -> Work:
    recipe = step.arguments["recipe"]
    if recipe is None:  # a cross-encoder as released
        size = model(step)[1]
        return Work(0, MODEL_SECONDS, 2 * size, size)
    weights, size = model(step)
    passages = recipe["batch_size"] * recipe["n_way"]
    length = step.tokens("documents", step.maxlen("document")) + step.tokens("queries", step.maxlen("query"))
    steps = recipe["optimization"]["steps"] * recipe["gradient_accumulation_steps"]
    again = 4 if recipe["gradient_cache_chunk"] or recipe["gradient_checkpointing"] else 3
    validations = 0.0
    if step.parents.get("validation"):
        validations = steps / recipe["validation_interval"] * step.parents["validation"].results
    flops = 2 * weights * length * (again * steps * passages + validations)
    held = min(passages, recipe["gradient_cache_chunk"] or passages) * length * math.sqrt(weights) * 200
    return Work(flops, MODEL_SECONDS + steps * size * 3e-10, 6 * size + held, size, recipe["precision"])


def score(step: Step) -> Work:
    teacher = step.parents["teacher"]
    (weights, size), maxlen = model(teacher), teacher.arguments["maxlen"]
    pair = min(maxlen, step.tokens("documents", maxlen) + step.tokens("queries", maxlen))
    flops = 2 * weights * pair * step.results
    return Work(flops, MODEL_SECONDS, 2 * size, step.results * LINE_BYTES, step.arguments["precision"])


def supervision(step: Step) -> Work:
    weights, size = model(step)
    passages = step.arguments["num_queries"] * step.results / max(1.0, step.texts("queries"))
    flops = 4 * weights * passages * step.tokens("documents", step.maxlen("document"))
    return Work(flops, 2 * MODEL_SECONDS + 2, 2 * size, 150_000)


def centroids_of(step: Step) -> float:
    """How many centroids a step finds or has; 0 without any."""
    while "clustering" not in step.arguments:
        if "centroids" not in step.parents and "index" not in step.parents:
            return 0.0
        step = step.parents["centroids" if "centroids" in step.parents else "index"]
    settings = step.arguments["clustering"]
    return settings["num_centroids"] or settings["centroid_factor"] * num_centroids_rule(step.vectors)


def centroids(step: Step) -> Work:
    number, settings = centroids_of(step), step.arguments["clustering"]
    grouped = settings["group_search_radius"] is not None
    points = min(step.vectors, number * settings["max_points_per_centroid"])
    products = settings["kmeans_iterations"] * points + step.vectors
    flops = 2 * step.dim * number * products * (GROUPED_SHARE if grouped else 1)
    disk = number * step.dim * 2 + step.vectors * 2 + min(step.vectors / 20, 50_000) * step.dim * 4
    return Work(flops, 1 + step.vectors / 1e6, points * step.dim * 12, disk, "grouped" if grouped else "exact")


def centroid_analysis(step: Step) -> Work:
    clustered = step.parents["index"].parents["centroids"].work
    return Work(clustered.flops, 1 + step.vectors / 1e6, clustered.memory, 1e6, clustered.kind)


def index(step: Step) -> Work:
    values = step.vectors * step.dim
    disk = step.inputs["codec"]["bytes_at_128_dimensions"] / 128 * values + 2 * step.vectors
    disk += 2 * centroids_of(step) * step.dim
    kind = kind_of(step.arguments["codec"])
    return Work(0, 0.5 + values / 1e8, 2**16 * step.dim * 20 + 12 * step.vectors, disk, kind)


def search(step: Step) -> Work:
    weights, size = model(step)
    queries = step.texts("queries") + 150
    flops = queries * (2 * weights * step.maxlen("query") + 4 * step.dim * centroids_of(step) * step.maxlen("query"))
    scanned = queries * step.vectors * 4e-8
    held = step.parents["index"].disk if "index" in step.parents else step.parents["embeddings"].disk
    kind = (
        f"{kind_of(step.arguments['engine'])} of {kind_of(step.parents['index'].arguments['codec'])}"
        if "index" in step.parents
        else ""
    )
    return Work(flops, MODEL_SECONDS + scanned + step.results * 1e-5, 2 * size + held, step.results * LINE_BYTES, kind)


def bm25(step: Step) -> Work:
    characters = step.texts("documents") * step.inputs["documents"]["characters"]
    searches = (step.texts("queries") + 150) * (2e-4 + step.texts("documents") * 2e-8)
    return Work(0, characters / 2e6 + searches, 8 * characters, step.results * LINE_BYTES)


def single_vector(step: Step) -> Work:
    weights, size = model(step)
    tokens = step.texts("documents") * step.tokens("documents", 256)
    return Work(2 * weights * tokens, MODEL_SECONDS, 2 * size, step.results * LINE_BYTES)


def rerank(step: Step) -> Work:
    weights, size = model(step)
    return Work(
        2 * weights * step.texts("queries") * 32,
        MODEL_SECONDS + step.results * 2e-4,
        2 * size,
        step.results * LINE_BYTES,
    )


def decomposition(step: Step) -> Work:
    _, size = model(step)
    work = step.texts("queries") * step.vectors
    return Work(work * step.dim * 64, 2 * MODEL_SECONDS + 5, 2 * size + 8 * step.vectors * step.dim, 500_000)


def rows(step: Step) -> Work:
    """Stages that read rankings or candidates and write files or tables of them."""
    return Work(0, 0.3 + step.results * 1e-5, step.results * 220, step.results * LINE_BYTES)


def measured(step: Step) -> Work:
    """Evaluations: values for each query."""
    return Work(0, 1 + step.results * 2e-6, step.results * 600, 50_000)


def table(step: Step) -> Work:
    return Work(0, 3, 60e6, 60_000)


def kind_of(component: Mapping[str, Any]) -> str:
    """The class that a component's configuration names."""
    return str(component["_target_"]).rpartition(".")[2]


STAGES: dict[str, Callable[[Step], Work]] = {
    "initialise": initialise, "unprojected": initialise, "encode": encode, "train": train, "teacher": train,
    "score": score, "supervision": supervision, "centroids": centroids, "centroid_analysis": centroid_analysis,
    "index": index, "index_size": table, "search": search, "pools": search, "bm25": bm25,
    "single_vector": single_vector, "rerank": rerank, "decomposition": decomposition, "examples": rows,
    "external_examples": rows,
    "external_ranking": rows, "random_candidates": rows, "evaluate": measured, "agreement": measured, "table": table,
}  # fmt: skip
