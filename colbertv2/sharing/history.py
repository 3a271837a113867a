"""How the weights of a checkpoint were made, in words: rounds of training, and means of several checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.sharing.provenance import in_order, made_from, members, public, sources_of


@dataclass(frozen=True)
class HistoryStep:
    """A step on the way to the weights.

    Args:
        text: what was done.
        recipe: the recipe of a training as YAML; empty for a mean.
    """

    text: str
    recipe: str = ""


def steps(checkpoint: Artifact) -> list[HistoryStep]:
    """What made the weights, first step first: every training, and every mean after the trainings of its members."""
    found = []
    for label, one in made_from(checkpoint):
        if "recipe" in one.arguments:
            found.append(HistoryStep(training_text(label, one), recipe(one)))
        elif averaged := members(one):
            found.append(HistoryStep(average_text(one, averaged)))
    return found


def average_text(average: Artifact, averaged: dict[str, str]) -> str:
    """A sentence on the members of a mean of weights."""
    listed = [f"`{address}`" + (f" ({name})" if name else "") for name, address in averaged.items()]
    return (
        f"Mean of weights (`{average.address}`): of {', '.join(listed)}, with equal weights "
        "([Wortsman et al., 2022](https://arxiv.org/abs/2203.05482))."
    )


def training_text(label: str, training: Artifact) -> str:
    """A sentence on the data, the machine and the duration of a training; ``label`` says which one it is."""
    arguments = public(training.arguments)
    sizes = training.record.get("inputs", {})
    data = [
        f"{role.replace('_', ' ')} {' + '.join(f'`{source}`' for source in sources_of(arguments[role]))}"
        + (f" ({sizes[role]['texts']:,})" if "texts" in sizes.get(role, {}) else "")
        for role in ("documents", "queries", "dev_queries")
        if sources_of(arguments.get(role))
    ]
    device = training.record.get("device", "an unknown device")
    made_by = example_stages(training)
    examples = f"; examples by {made_by}" if made_by else ""
    return (
        f"{label} (`{training.address}`): {', '.join(data)}{examples}; seed {arguments.get('seed')}; "
        f"{training.record['seconds']:,.0f} s on {device}."
    )


def example_stages(training: Artifact) -> str:
    """The stages that made the examples of a training, in the order of their work; empty if these were deleted."""
    place = location(training.path.parents[1], str(training.record["parents"].get("examples")))
    if not Artifact.present(place):
        return ""
    return ", ".join(dict.fromkeys(one.stage for one in in_order(Artifact.open(place).lineage())))


def recipe(training: Artifact) -> str:
    """The recipe of a training as YAML, with classes by their names alone."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                "class" if key == "_target_" else key: str(item).rpartition(".")[2]
                if key == "_target_"
                else short(item)
                for key, item in value.items()
            }
        return [short(item) for item in value] if isinstance(value, list) else value

    return yaml.safe_dump(short(public(training.arguments["recipe"])), sort_keys=False, allow_unicode=True).rstrip()
