"""A fixed number of vectors per document, made by a layer that is trained (MacAvaney et al. 2025, arXiv:2504.01818)."""

import torch
from torch import Tensor, nn

from colbertv2.errors import InputError
from colbertv2.modeling.projection import linear
from colbertv2.modeling.tokenizer import Encoding

NO_TOKEN = -1  # the token id of a vector that belongs to none


class LearnedPooling(nn.Module):
    """Maps the vectors of a document's tokens to C vectors, by a linear layer over positions without bias.

    Vector c is the sum of ``weight[c, p]`` times the vector at position p, over the tokens that are scored. Padding and
    punctuation that is not scored add nothing, so a document has the same vectors in any batch.

    Args:
        weight: ``[C, L]``, for documents of at most L tokens.

    >>> pooling = LearnedPooling(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 2.0]]))
    >>> pooling(torch.eye(3)[None], torch.tensor([[True, True, False]])).tolist()
    [[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]]
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.linear = linear(weight)

    @property
    def num_vectors(self) -> int:
        """Number of vectors of every document."""
        return self.linear.out_features

    def refuse_longer(self, length: int) -> None:
        """Raise InputError if documents of ``length`` tokens have more positions than the layer."""
        if length > (positions := self.linear.in_features):
            raise InputError(
                f"document_maxlen is {length}, but the learned pooling of this model has weights for {positions} "
                f"positions; expected at most {positions}."
            )

    def forward(self, vectors: Tensor, scored: Tensor) -> Tensor:
        """Map ``[B, L, dim]`` to ``[B, C, dim]``; ``scored [B, L]`` is true for the tokens that count.

        Raises:
            InputError: there are more positions than the layer has.
        """
        self.refuse_longer(vectors.shape[1])
        return self.linear.weight[:, : vectors.shape[1]] @ (vectors * scored.unsqueeze(-1))

    def stored(self) -> Tensor:
        """The present weight, on the CPU."""
        return self.linear.weight.detach().cpu().contiguous()


def vector_tokens(documents: Encoding, num_vectors: int | None) -> Encoding:
    """The tokens that the vectors of documents belong to.

    Args:
        documents: their tokens, ``[B, L]``.
        num_vectors: C, if a learned pooling made the vectors: then they belong to no token, and all ids ``[B, C]`` are
            :data:`NO_TOKEN`. Without, the tokens are ``documents`` themselves.
    """
    if num_vectors is None:
        return documents
    ids = documents.input_ids.new_full((len(documents.input_ids), num_vectors), NO_TOKEN)
    return Encoding(ids, torch.ones_like(ids), torch.ones_like(ids, dtype=torch.bool))
