"""The mean of the weights of several checkpoints of one architecture."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from colbertv2.errors import InputError
from colbertv2.modeling.colbert import ColBERT


def averaged(directories: Sequence[Path]) -> ColBERT:
    """Return the first checkpoint with the mean of the weights of all (a uniform "soup", Wortsman et al. 2022).

    Sums are in float64, so the order of the checkpoints changes nothing beyond the last rounding. Tensors of integers
    are the first checkpoint's. Two checkpoints are in memory at a time.

    Args:
        directories: at least one checkpoint of ColBERT in any layout that can be loaded.

    Raises:
        InputError: a checkpoint has another architecture, vocabulary or tokenization than the first.
    """
    first = ColBERT.load(directories[0])
    sums = {name: tensor.double() for name, tensor in first.state_dict().items() if tensor.is_floating_point()}
    for directory in directories[1:]:
        other = ColBERT.load(directory)
        if found := [*differences(first, other)]:
            raise InputError(f"{directory} can't be averaged with {directories[0]}: {'; '.join(found)}.")
        weights = other.state_dict()
        for name, total in sums.items():
            total += weights[name]
    first.load_state_dict({name: total / len(directories) for name, total in sums.items()}, strict=False)
    return first


def differences(first: ColBERT, other: ColBERT) -> Iterator[str]:
    """Yield a phrase for each reason why the weights of two models have no mean, or one without a meaning."""
    own, others = (asdict(model.tokenizer.tokenization) for model in (first, other))
    for name in own:
        if own[name] != others[name]:
            yield f"the tokenization's {name} is {others[name]!r}, not {own[name]!r}"
    shapes, other_shapes = (
        {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} for model in (first, other)
    )
    for name in sorted(shapes.keys() | other_shapes.keys()):
        if shapes.get(name) != other_shapes.get(name):
            yield f"the shape of {name} is {other_shapes.get(name)}, not {shapes.get(name)}"
            return  # the others follow from the first
    kinds = [model.transformer.config.model_type for model in (first, other)]
    if kinds[0] != kinds[1]:
        yield f"the architecture is {kinds[1]}, not {kinds[0]}"
    vocabularies = [model.tokenizer.tokenizer.get_vocab() for model in (first, other)]
    if vocabularies[0] != vocabularies[1]:
        yield "the vocabulary is another one"
