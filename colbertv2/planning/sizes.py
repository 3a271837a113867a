"""How large texts and transformers are, without encoding a text or loading a weight: for estimates."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.initial import conventions as conventions_of
from colbertv2.modeling.tokenizer import Conventions, Tokenizer

SAMPLED_TEXTS = 300
READ_TEXTS = 20_000  # of a longer collection the first ones are sampled
FORWARD_BYTES = 100_000_000  # of compiled products and the allocator, whatever the size
SAMPLES: dict[str, list[tuple[str, str]]] = {}
LENGTHS: dict[tuple, "Lengths"] = {}  # by texts, tokenizer and where they are cut


class Texts(Protocol):
    """A ``Collection`` or ``Queries``."""

    id: str

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...
    def identity(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Lengths:
    """Means over a sample of texts.

    Args:
        count: texts that there are in all. tokens: read by the transformer. vectors: of these, scored.
        squares: tokens squared, which is what attention costs. characters: of the text. id_bytes: of its id.
    """

    count: int
    tokens: float
    vectors: float
    squares: float
    characters: float
    id_bytes: float


@dataclass(frozen=True)
class Transformer:
    """The sizes of a Hugging Face encoder.

    >>> Transformer(hidden=384, layers=6, inner=1536, heads=12, weights=90_000_000).flops(tokens=1, squares=0)
    21233664.0
    """

    hidden: int
    layers: int
    inner: int
    heads: int
    weights: int

    @classmethod
    def of(cls, directory: Path) -> "Transformer":
        """From ``config.json`` and the size of the weights, which are loaded as float32."""
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        hidden = config["hidden_size"]
        weights = sum(file.stat().st_size for file in directory.rglob("*.safetensors"))
        half = "16" in str(config.get("torch_dtype", config.get("dtype", "float32")))
        return cls(
            hidden,
            config["num_hidden_layers"],
            config.get("intermediate_size", 4 * hidden),
            config.get("num_attention_heads", max(1, hidden // 64)),
            weights * (2 if half else 1),
        )

    def flops(self, tokens: float, squares: float) -> float:
        """Operations of a forward pass: ``tokens`` of texts whose lengths squared sum to ``squares``."""
        per_token = 2 * self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        return per_token * tokens + 4.0 * self.layers * self.hidden * squares

    def forward_bytes(self, tokens: float, longest: float) -> float:
        """Held at once by a forward pass that keeps nothing for a backward one, and by the libraries behind it."""
        return FORWARD_BYTES + 4 * tokens * (8 * self.hidden + 2 * self.inner + 2 * self.heads * longest)

    def training_bytes(self, tokens: float, longest: float) -> float:
        """Activations that a backward pass needs."""
        return 4 * tokens * self.layers * (10 * self.hidden + 3 * self.inner + self.heads * longest)


def tokenizer_of(backbone: Backbone, conventions: Conventions | None) -> Tokenizer:
    """The tokenizer of an untrained checkpoint, and so of all trained from it."""
    return _tokenizer(backbone.directory, conventions_of(backbone, conventions))


@cache
def _tokenizer(directory: Path, conventions: Conventions) -> Tokenizer:
    from transformers import AutoTokenizer

    return Tokenizer(AutoTokenizer.from_pretrained(directory), conventions)


def lengths(texts: Texts, rows: Iterable[Sequence[int]], scored: float, sample: list[tuple[str, str]]) -> Lengths:
    """From the token ids of a sample, ``scored`` of which are."""
    sizes = [len(row) for row in rows]
    number = max(1, len(sizes))
    return Lengths(
        len(texts),
        sum(sizes) / number,
        scored / number,
        sum(size * size for size in sizes) / number,
        sum(len(text) for _, text in sample) / number,
        sum(len(name.encode()) for name, _ in sample) / number,
    )


def sampled(texts: Texts) -> list[tuple[str, str]]:
    """Some hundred texts, evenly spread, with their ids; read once per process."""
    key = name_of(texts)
    if key not in SAMPLES:
        count = min(len(texts), READ_TEXTS)
        SAMPLES[key] = list(islice(texts, 0, count, max(1, count // SAMPLED_TEXTS)))
    return SAMPLES[key]


def name_of(texts: Texts) -> str:
    """The id of texts and what they hold: a folder's may change under its id."""
    return json.dumps([texts.id, texts.identity()], sort_keys=True)


def document_lengths(documents: Texts, tokenizer: Tokenizer, maxlen: int | None = None) -> Lengths:
    """The lengths of ``documents``, cut at ``maxlen`` or as the conventions say."""
    key = (name_of(documents), id(tokenizer), maxlen)
    if key not in LENGTHS:
        sample = sampled(documents)
        if maxlen is not None:
            tokenizer = Tokenizer(tokenizer.tokenizer, replace(tokenizer.conventions, document_maxlen=maxlen))
        rows = tokenizer.document_ids([text for _, text in sample])
        skipped = set(tokenizer.skipped.tolist())
        LENGTHS[key] = lengths(documents, rows, sum(token not in skipped for row in rows for token in row), sample)
    return LENGTHS[key]


def query_lengths(queries: Texts, tokenizer: Tokenizer) -> Lengths:
    """The lengths of ``queries``; with augmentation all are of the longest."""
    key = (name_of(queries), id(tokenizer), "queries")
    if key not in LENGTHS:
        sample = sampled(queries)
        rows = tokenizer.query_ids([text for _, text in sample])
        if tokenizer.conventions.query_augmentation:
            rows = [[0] * tokenizer.conventions.query_maxlen for _ in rows]
        LENGTHS[key] = lengths(queries, rows, sum(map(len, rows)), sample)
    return LENGTHS[key]
