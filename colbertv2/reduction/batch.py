"""Reductions in a training: the groups of a batch's documents, and their means with gradients."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from colbertv2.modeling.tokenizer import Encoding, Tokenizer
from colbertv2.parallel import parallel_map
from colbertv2.reduction.reduction import NoReduction, Reduction, special_ids


def reduced_batch(
    reduction: Reduction, vectors: Tensor, documents: Encoding, tokenizer: Tokenizer
) -> tuple[Tensor, Tensor]:
    """Return the reduced vectors ``[N, M, dim]`` of N documents, and their mask ``[N, M]``.

    The groups are those of the stage ``reduce``: it reads vectors in 16 bits, so groups are made from rounded ones.
    They have no gradient, unlike the means, whose gradient goes to all members.

    Args:
        reduction: which vectors are pooled or left out.
        vectors: ``[N, L, dim]``, L2-normalised.
        documents: the tokens of the vectors, ``[N, L]``; those that are scored have vectors.
        tokenizer: the tokenizer that made the tokens.
    """
    if isinstance(reduction, NoReduction):
        return vectors, documents.scored
    special = special_ids(tokenizer)
    rounded = vectors.detach().to("cpu", torch.float16).float().numpy()
    ids, kept = documents.input_ids.cpu().numpy(), documents.scored.cpu().numpy()

    def grouped(row: int) -> NDArray[np.int64]:
        own = ids[row, kept[row]]
        return reduction.groups(rounded[row, kept[row]], own, reduction.protects(own, special))

    groups = np.full(ids.shape, -1)
    for row, found in enumerate(parallel_map(grouped, range(len(ids)))):
        groups[row, kept[row]] = found
    return group_means(vectors, torch.from_numpy(groups).to(vectors.device), bool(reduction.normalise))


def group_means(vectors: Tensor, groups: Tensor, normalise: bool) -> tuple[Tensor, Tensor]:
    """Return the mean of each group of a document's vectors, ``[N, M, dim]``, and a mask ``[N, M]`` of the groups.

    With one member, the mean is the vector itself. M is the largest number of groups of a document, at least 1.

    Args:
        vectors: ``[N, L, dim]``.
        groups: ``[N, L]``, the group of each vector, from 0; -1 if it is left out.
        normalise: whether to scale means to length 1.

    >>> vectors, groups = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]]), torch.tensor([[0, 1, 1]])
    >>> means, mask = group_means(vectors, groups, normalise=False)
    >>> means.tolist(), mask.tolist()
    ([[[1.0, 0.0], [0.0, 2.0]]], [[True, True]])
    """
    number = max(1, int(groups.max()) + 1)
    documents, places = (groups >= 0).nonzero(as_tuple=True)
    rows = documents * number + groups[documents, places]
    sizes = torch.bincount(rows, minlength=len(groups) * number)
    sums = vectors.new_zeros(len(sizes), vectors.shape[-1]).index_add(0, rows, vectors[documents, places])
    means = sums / sizes.clamp(min=1).unsqueeze(-1)
    if normalise:
        means = normalize(means, dim=-1)
    return means.view(len(groups), number, -1), (sizes > 0).view(len(groups), number)
