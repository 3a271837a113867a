"""A cross-encoder: query and passage go through the transformer together, so every token attends to both texts.

There are two scoring heads (``ScoringHead``). ``classifier`` is the single logit of a sequence classifier, as in
released teachers (``cross-encoder/ms-marco-MiniLM-L-6-v2``). ``late_interaction`` is MaxSim between the query's and the
passage's token states, both from the *joint* encoding. It has no new weights, so it benefits from any sentence encoder
at once and can be trained in minutes on a CPU, where a new classification head learns nothing for hundreds of steps.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from colbertv2.artifacts.integrity import check_directory
from colbertv2.checkpoints.pretrained import is_classifier, load_config, load_model, load_tokenizer, refuse_longer
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json
from colbertv2.modeling.backbone import load_transformer
from colbertv2.modeling.batch import Tuples, encoded_by_length
from colbertv2.modeling.colbert import batches_by_length
from colbertv2.modeling.maxsim import maxsim
from colbertv2.modeling.options import ScoringHead, autocast

KINDS = {"maxlen": int, "scoring_head": str, "temperature": int | float}  # the settings in ``cross_encoder.json``


class PairEncoding(NamedTuple):
    """Joint encodings of query–passage pairs, each tensor ``[pairs, L]``; the masks are true for that text's tokens."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    query_mask: Tensor
    document_mask: Tensor

    def to(self, device: torch.device) -> "PairEncoding":
        """Return a copy on ``device``."""
        return PairEncoding(*(tensor.to(device) for tensor in self))


class PairBatch(NamedTuple):
    """The pairs of a batch: n for each of its ``num_queries`` queries, query by query."""

    pairs: PairEncoding
    num_queries: int


class CrossEncoder(nn.Module):
    """Score the relevance of query–passage pairs.

    Args:
        transformer: an encoder for ``late_interaction``, a one-label sequence classifier for ``classifier``.
        tokenizer: a fast Hugging Face tokenizer.
        maxlen: maximum length of a pair in tokens; the longer text is cut first.
        scoring_head: ``late_interaction`` or ``classifier``.
        temperature: divisor of ``late_interaction``'s score, a mean cosine per query token; ``classifier`` ignores it.

    Raises:
        InputError: the scoring head is unknown, or ``maxlen`` exceeds the transformer's positions.
    """

    gradient_cache_chunk: int | None = None  # pairs encoded at a time in training (encoded_by_length)

    def __init__(
        self,
        transformer: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        maxlen: int,
        scoring_head: str,
        temperature: float,
    ):
        super().__init__()
        if scoring_head not in (known := get_args(ScoringHead)):
            raise InputError(f"teacher.scoring_head is {scoring_head!r}; expected one of {', '.join(known)}.")
        refuse_longer("teacher.maxlen", maxlen, transformer.config)
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.maxlen = maxlen
        self.scoring_head = scoring_head
        self.temperature = temperature

    @classmethod
    def pretrained(cls, directory: Path, maxlen: int, scoring_head: str, temperature: float) -> "CrossEncoder":
        """Load a Hugging Face model directory: an encoder, or, for ``classifier``, also a released one-label teacher.

        An encoder with ``classifier`` gets a new, untrained head.

        Raises:
            InputError: the model is missing, incomplete or damaged, or a released teacher has several labels.
        """
        tokenizer = load_tokenizer(directory)
        if scoring_head != "classifier":
            return cls(load_transformer(directory), tokenizer, maxlen, scoring_head, temperature)
        config = load_config(directory)
        released = is_classifier(config.architectures)
        if released and config.num_labels != 1:
            raise InputError(
                f"The teacher in {directory} has {config.num_labels} labels; expected a re-ranker with one label, "
                "the relevance score."
            )
        model = load_model(AutoModelForSequenceClassification, directory, new_head=not released, num_labels=1)
        return cls(model, tokenizer, maxlen, scoring_head, temperature)

    def encode_pairs(self, queries: list[str], documents: list[str]) -> PairEncoding:
        """Tokenise pairs (one passage per query) as ``[CLS] query [SEP] passage [SEP]``."""
        encoded = self.tokenizer(
            queries,
            documents,
            truncation="longest_first",
            max_length=self.maxlen,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=True,
        )
        sides = torch.tensor(
            [
                [-1 if side is None else side for side in encoded.sequence_ids(row)]
                for row in range(len(encoded["input_ids"]))
            ]
        )
        return PairEncoding(
            encoded["input_ids"], encoded["attention_mask"], encoded["token_type_ids"], sides == 0, sides == 1
        )

    def forward(self, pairs: PairEncoding) -> Tensor:
        """Return relevance scores ``[pairs]``."""
        inputs = {"input_ids": pairs.input_ids, "attention_mask": pairs.attention_mask}
        if getattr(self.transformer.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = pairs.token_type_ids
        if self.scoring_head == "classifier":
            return self.transformer(**inputs).logits.squeeze(-1)
        states = normalize(self.transformer(**inputs).last_hidden_state.float(), dim=-1)
        with torch.autocast(states.device.type, enabled=False):
            scores = maxsim(states, states.unsqueeze(1), pairs.query_mask, pairs.document_mask.unsqueeze(1))
        return scores.squeeze(1) / pairs.query_mask.sum(-1).clamp(min=1) / self.temperature

    def collate(self, tuples: Tuples) -> PairBatch:
        """Tokenise a batch."""
        n = len(tuples.documents) // len(tuples.queries)
        queries = [query for query in tuples.queries for _ in range(n)]
        return PairBatch(self.encode_pairs(queries, tuples.documents), len(tuples.queries))

    def batch_scores(self, inputs: PairBatch, all_pairs: bool) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``[B, n]`` of a training batch, and None.

        Raises:
            InputError: ``all_pairs``: in-batch negatives would need B times as many encodings.
        """
        if all_pairs:
            raise InputError("A cross-encoder has no in-batch negatives: leave in_batch out of its objectives.")
        pairs = inputs.pairs
        scores = pairs.query_mask.new_zeros(len(pairs.input_ids), dtype=torch.float32)
        for rows, encoded in encoded_by_length(self, pairs, pairs.attention_mask, self.gradient_cache_chunk):
            scores[rows] = encoded.float()
        return scores.view(inputs.num_queries, -1), None

    def predict(
        self,
        queries: list[str],
        documents: list[str],
        batch_tokens: int = 2048,
        bar: Callable = iter,
        precision: str = "32-true",
    ) -> np.ndarray:
        """Score pairs of a query and a document.

        Args:
            queries, documents: the texts, one query and one document per pair.
            batch_tokens: maximum number of tokens in a batch.
            bar: wraps the iterable of batches, to show progress.
            precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.

        Returns:
            Scores ``[pairs]``, float32.
        """
        scores = np.empty(len(queries), dtype=np.float32)
        encoded = self.tokenizer(queries, documents, truncation="longest_first", max_length=self.maxlen)["input_ids"]
        device = next(self.parameters()).device
        self.eval()
        with torch.inference_mode(), autocast(precision, device):
            for batch in bar(batches_by_length([len(row) for row in encoded], batch_tokens)):
                pairs = self.encode_pairs([queries[i] for i in batch], [documents[i] for i in batch]).to(device)
                scores[batch] = self(pairs).float().cpu().numpy()
        return scores

    def save(self, directory: Path) -> None:
        """Save model and tokenizer in Hugging Face's format, and ``cross_encoder.json``."""
        self.transformer.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        settings = {"maxlen": self.maxlen, "scoring_head": self.scoring_head, "temperature": self.temperature}
        write_json(directory / "cross_encoder.json", settings)

    @classmethod
    def load(cls, directory: Path) -> "CrossEncoder":
        """Load a cross-encoder that :meth:`save` wrote.

        Raises:
            InputError: a file is missing or damaged.
        """
        check_directory(directory)
        file = directory / "cross_encoder.json"
        settings = read_json(file)
        if settings.keys() != KINDS.keys() or not all(isinstance(settings[name], KINDS[name]) for name in KINDS):
            raise InputError(f"{file} contains {settings}; expected {', '.join(KINDS)}. Build {directory} again.")
        return cls.pretrained(directory, **settings)
