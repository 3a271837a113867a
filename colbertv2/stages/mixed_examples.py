"""Stage: bring the training examples of several collections together."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.training.examples import EXAMPLES_FILE, Example, training_examples, write_examples


@stage(version=1)
def run(examples: dict[str, Artifact], *, out: Path, runtime: Runtime) -> None:
    """Copy the examples of all collections to one file, collection by collection, with ids ``<collection>/<id>``.

    Writes ``examples.jsonl``, and ``mixture.json`` with the number of examples of each collection.

    Args:
        examples: name of each collection → its examples.

    Raises:
        InputError: a collection has no examples.
    """
    counts = dict.fromkeys(examples, 0)

    def renamed() -> Iterator[Example]:
        for name, of_part in examples.items():
            for example in training_examples(of_part):
                counts[name] += 1
                documents = [f"{name}/{document}" for document in example.documents]
                yield Example(f"{name}/{example.query_id}", documents, example.scores)

    write_examples(out / EXAMPLES_FILE, renamed())
    if empty := [name for name, count in counts.items() if not count]:
        raise InputError(f"The collection {empty[0]!r} of the mixture has no examples; remove it from the mixture.")
    write_json(out / "mixture.json", {"examples": counts})


def check(examples: dict[str, Node]) -> Iterator[str]:
    """Check that no two collections are the same, which would count twice."""
    seen: dict[str, str] = {}
    for name, node in examples.items():
        if (first := seen.setdefault(node.address, name)) != name:
            yield (
                f"collection.collections: {first!r} and {name!r} have the same queries and documents, so they would "
                "be trained on twice; remove one of them."
            )
