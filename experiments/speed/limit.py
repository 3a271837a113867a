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


def matrix_product_rate(
    threads: int | None = None,
    size: int = 2048,
    repeats: int = 9,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> float:
    """Measure the operations per second of matrix products ``[size, size]``: the median of ``repeats``.

    Args:
        threads: CPU threads to set; ``None`` leaves their number.
        device: where to multiply.
        dtype: of the matrices.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    left, right = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(repeats):
        wait(device)
        begun = time.perf_counter()
        left @ right
        wait(device)
        rates.append(2 * size**3 / (time.perf_counter() - begun))
    return statistics.median(rates)


def wait(device: str) -> None:
    """Wait until a device has done all work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
