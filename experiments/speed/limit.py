"""An upper bound of speed on this machine: the operations of an encoder, and the rate of a plain matrix product."""

import statistics
import time
from collections.abc import Iterable

import torch
from transformers import PretrainedConfig


def encoder_operations(config: PretrainedConfig, lengths: Iterable[int], dim: int) -> float:
    """Count the operations of one forward pass over texts without padding; a multiply-add counts as two.

    Per token and layer, these are the four projections of the attention, the two of the feed-forward network, and two
    products with all tokens of the text; then the projection to ``dim``. A training step has three times as many.

    Args:
        config: of the encoder.
        lengths: tokens of every text.
        dim: of the token vectors.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    dense = layers * (4 * hidden * hidden + 2 * hidden * inner) + hidden * dim
    return float(sum(2 * length * (dense + layers * 2 * length * hidden) for length in lengths))


def matrix_product_rate(threads: int, size: int = 2048, repeats: int = 9) -> float:
    """Measure the operations per second of float32 matrix products ``[size, size]``: the median of ``repeats``."""
    torch.set_num_threads(threads)
    left, right = torch.rand(size, size), torch.rand(size, size)
    rates = []
    for _ in range(repeats):
        begun = time.perf_counter()
        left @ right
        rates.append(2 * size**3 / (time.perf_counter() - begun))
    return statistics.median(rates)
