"""What the machine could do at most: the operations of an encoder, and the rate of a plain matrix product."""

import statistics
import time
from collections.abc import Iterable

import torch
from transformers import PretrainedConfig


def encoder_operations(config: PretrainedConfig, lengths: Iterable[int], dim: int) -> float:
    """Operations (a multiply-add is two) of one forward pass over texts of these lengths, without any padding.

    Per token and layer: four projections of the attention, two of the feed-forward network, and two products with
    all tokens of its text; then the projection to ``dim``. Training takes three times as many.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    dense = layers * (4 * hidden * hidden + 2 * hidden * inner) + hidden * dim
    return float(sum(2 * length * (dense + layers * 2 * length * hidden) for length in lengths))


def matrix_product_rate(threads: int, size: int = 2048, repeats: int = 9) -> float:
    """Operations a second of float32 matrix products ``[size, size]``, the median of ``repeats``."""
    torch.set_num_threads(threads)
    left, right = torch.rand(size, size), torch.rand(size, size)
    rates = []
    for _ in range(repeats):
        begun = time.perf_counter()
        left @ right
        rates.append(2 * size**3 / (time.perf_counter() - begun))
    return statistics.median(rates)
