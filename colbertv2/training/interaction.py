"""How the scores of a training batch are computed from its vectors: by plain MaxSim, or in another way.

A training may prepare a model for fewer dimensions (Matryoshka), for fewer vectors per document (a reduction), for
scores of retrieved tokens only (XTR), or may scale its scores (by the length of the query, by a temperature that is
learned). Validations choose the weights by what an index is searched with: MaxSim of whole vectors, of reduced
documents if the training reduces them. The other settings only shape the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.reduction.reduction import NoReduction, Reduction
from colbertv2.schema import PositiveInt, Scale, checked

if TYPE_CHECKING:
    from torch import Tensor

    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.tokenizer import Encoding

    BatchScores = tuple[Tensor, Tensor | None]  # of each query's own candidates, and of all pairs

NONE = NoReduction()


@checked
@dataclass(frozen=True)
class LateInteraction:
    """How a training computes scores; a choice of the group ``interaction``. The defaults are plain MaxSim.

    All settings can be combined, but for ``length_normalisation`` with ``num_tokens``, which divides already.

    Args:
        num_tokens: XTR's k_train (Lee et al. 2023, arXiv:2304.01982, §3.1): a document token counts for a query token
            only if it is among its nearest ``num_tokens`` tokens of all documents of the batch; see :func:`xtr`.
            ``None`` is MaxSim.
        length_normalisation: divide MaxSim by the number of scored query tokens.
        dims: Matryoshka training (Kusupati et al. 2022, arXiv:2205.13147): the loss is the mean over the first d
            dimensions for each d of ``dims``, with vectors scaled to length 1 again. The model's own number of
            dimensions must be among them, as whole vectors are validated. ``None`` trains whole vectors only.
        dim_weights: the weights of ``dims`` in that mean; ``None`` weighs all alike.
        reduction: train on documents that are pooled or pruned like this, instead of all their vectors. Validations
            reduce documents too.
        initial_temperature: divide scores by a temperature that is learned, from this value on, as in CLIP (Radford
            et al. 2021, arXiv:2103.00020, §2.5, from 0.07 on). It is not part of the saved checkpoint. ``None``
            divides by nothing.
        minimum_temperature: the learned temperature stays at or above it; in CLIP it is 0.01.
        temperature_learning_rate: its peak learning rate, with the schedule of the weights. AdamW changes the logarithm
            by about this much per step.

    Raises:
        InputError: settings do not fit each other.

    >>> LateInteraction() == LateInteraction(dims=None), LateInteraction(dims=[64, 32]).weights
    (True, [0.5, 0.5])
    """

    num_tokens: PositiveInt | None = None
    length_normalisation: bool = False
    dims: list[PositiveInt] | None = None
    dim_weights: list[Scale] | None = None
    reduction: Reduction = NONE
    initial_temperature: Scale | None = None
    minimum_temperature: Scale = 0.01
    temperature_learning_rate: Annotated[float, Interval(gt=0, le=1)] = 1e-3
    neutral: ClassVar[dict[str, Any]] = {
        "num_tokens": None,
        "length_normalisation": False,
        "dims": None,
        "dim_weights": None,
        "reduction": NONE,
        "initial_temperature": None,
        "minimum_temperature": 0.01,
        "temperature_learning_rate": 1e-3,
    }

    def __post_init__(self) -> None:
        if self.num_tokens is not None and self.length_normalisation:
            raise InputError(
                "interaction.num_tokens and length_normalisation are both set, but XTR's score is divided already; "
                "set length_normalisation=false."
            )
        dims = self.dims
        if dims is not None and (not dims or len(set(dims)) < len(dims) or any(dim % 8 for dim in dims)):
            raise InputError(
                f"interaction.dims is {dims}; expected different multiples of 8, so that the bits of every codec fill "
                "whole bytes, or null."
            )
        if self.dim_weights is not None and len(self.dim_weights) != len(dims or []):
            raise InputError(
                f"interaction.dim_weights is {self.dim_weights} and dims is {dims}; expected a weight for each of "
                "dims, or null."
            )
        if (weights := self.reduction.token_weights) is not None:
            raise InputError(
                f"interaction.reduction is {type(self.reduction).__name__}, which needs the {weights} of each token, "
                "but a training does not compute it; use one that needs vectors and tokens only, such as hierarchical."
            )
        if self.initial_temperature is not None and self.initial_temperature < self.minimum_temperature:
            raise InputError(
                f"interaction.initial_temperature is {self.initial_temperature:g}; expected at least "
                f"minimum_temperature, {self.minimum_temperature:g}."
            )

    @property
    def needs_all_pairs(self) -> bool:
        """Whether a score depends on all documents of the batch."""
        return self.num_tokens is not None

    @property
    def weights(self) -> list[float]:
        """The weights of ``dims``, whose sum is 1; a single one without ``dims``."""
        given = self.dim_weights or [1.0] * len(self.dims or [1])
        return [weight / sum(given) for weight in given]

    def mean(self, losses: Iterable[Tensor]) -> Tensor:
        """The mean of the losses of ``dims``, with their weights."""
        first, *others = (weight * loss for weight, loss in zip(self.weights, losses, strict=True))
        return sum(others, start=first)

    @property
    def scaling(self) -> dict[str, Any]:
        """The settings that only scale the scores of a query."""
        return {
            "length_normalisation": self.length_normalisation,
            "initial_temperature": self.initial_temperature,
        }

    def batch_problems(self, batch_size: int, in_batch_groups: int) -> Iterator[str]:
        """Yield why batches of this kind can't be scored."""
        if self.num_tokens is not None and (in_batch_groups > 1 or batch_size < 2):
            yield (
                "interaction.num_tokens is set, so the documents of the complete batch compete; expected "
                f"in_batch_groups=1 and a batch_size of at least 2, found {in_batch_groups} and {batch_size}."
            )

    def model_problems(
        self, dim: int, document_maxlen: int | None, vectors_per_document: int | None = None
    ) -> Iterator[str]:
        """Yield why a model with ``dim`` dimensions and documents of at most ``document_maxlen`` tokens can't train.

        ``vectors_per_document`` is the number of vectors that its learned pooling makes, if it has one.
        """
        if self.dims is not None and max(self.dims) != dim:
            yield f"interaction.dims is {self.dims}; expected {dim}, the model's dimensions, and lower ones."
        if vectors_per_document:
            yield from self.reduction.check_pooled(vectors_per_document)
        elif document_maxlen:
            yield from self.reduction.check(document_maxlen)

    def scores(self, model: ColBERT, inputs: tuple[Encoding, Encoding], all_pairs: bool) -> list[BatchScores]:
        """Return the scores of a training batch for each of ``dims``, in the form of ``ColBERT.batch_scores``."""
        return self._scores(model, inputs, all_pairs, self.dims or [model.dim], self._score)

    def validation_scores(self, model: ColBERT, inputs: tuple[Encoding, Encoding]) -> Tensor:
        """Return MaxSim of queries with their own candidates, ``[B, n]``: whole vectors of reduced documents."""
        from colbertv2.modeling.maxsim import maxsim

        ((own, _),) = self._scores(model, inputs, False, [model.dim], maxsim)
        return own

    @property
    def _score(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        from colbertv2.modeling.maxsim import maxsim

        if self.num_tokens is not None:
            return partial(xtr, num_tokens=self.num_tokens)
        return mean_maxsim if self.length_normalisation else maxsim

    def _scores(
        self, model: ColBERT, inputs: tuple[Encoding, Encoding], all_pairs: bool, dims: list[int], score: Callable
    ) -> list[BatchScores]:
        import torch

        from colbertv2.reduction.batch import reduced_batch

        queries, documents = inputs
        query_vectors, document_vectors = model(queries), model.document_vectors(documents)
        tokens = model.document_tokens(documents)
        found = []
        with torch.autocast(query_vectors.device.type, enabled=False):  # 16-bit sums would lose the margins
            for dim in dims:
                vectors = sliced(document_vectors, dim)
                vectors, mask = reduced_batch(self.reduction, vectors, tokens, model.tokenizer)
                own = sliced(query_vectors, dim)
                found.append(model.interact(own, vectors, queries.scored, mask, all_pairs, score))
        return found


def sliced(vectors: Tensor, dim: int) -> Tensor:
    """Return the first ``dim`` dimensions of ``[..., dim of the model]``, scaled to length 1 again."""
    from torch.nn.functional import normalize

    return vectors if dim == vectors.shape[-1] else normalize(vectors[..., :dim], dim=-1)


def mean_maxsim(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """Return MaxSim divided by the number of query vectors that take part; arguments are those of ``maxsim``."""
    from colbertv2.modeling.maxsim import maxsim

    lengths = query_mask.sum(-1, keepdim=True).clamp(min=1)
    return maxsim(queries, documents, query_mask, document_mask) / lengths


def xtr(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor, num_tokens: int) -> Tensor:
    """Return XTR's training score of each query with each document, ``[B, N]`` (Lee et al. 2023, eq. 2).

    A query token retrieves its ``num_tokens`` nearest tokens of all N documents; more if some are equally near, so that
    the score does not depend on the order of documents. The score is the sum of the highest retrieved similarity of
    each query token in the document, divided by Z, the number of query tokens that retrieved a token of the document.
    It is 0 if none did. In distillation, too, the tokens of all documents of the batch compete, and then a query's own
    candidates are looked at, as in PyLate's ``xtr_kd_scores`` (pull request 213).

    Similarities of one query are in memory at a time, 4·N·Ld·Lq bytes: 47 MB for 64 documents per query, batches of 32,
    180 document tokens and 32 query tokens.

    Z is the paper's, as in sentence-transformers 6. PyLate 1.6 counts positive maxima only, and a retrieved negative
    similarity is 0 there. That differs only if ``num_tokens`` reaches negative similarities. Defaults there are 256.

    Args:
        queries: ``[B, Lq, dim]``.
        documents: ``[1, N, Ld, dim]``, all documents of the batch.
        query_mask: ``[B, Lq]``, true where a vector takes part.
        document_mask: ``[1, N, Ld]``, true where a vector takes part.
        num_tokens: tokens that a query token retrieves; if the batch has fewer, all.
    """
    import torch

    from colbertv2.modeling.maxsim import best_similarities

    best, least = best_similarities(queries, documents, document_mask, num_tokens)
    assert least is not None
    retrieved = (best >= least.unsqueeze(1)) & torch.isfinite(best) & query_mask.unsqueeze(1)
    total = torch.where(retrieved, best, best.new_zeros(())).sum(-1)
    return total / retrieved.sum(-1).clamp(min=1)
