"""What is published of a model's artifacts: how it was trained and what was measured, without local paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.integrity import RECORD
from colbertv2.errors import InputError
from colbertv2.files import read_json

WEIGHTS = "colbert.json"  # every stage that writes a checkpoint writes this file
VALUES = "per_query.csv"  # … and every evaluation this one
SCHEMES = re.compile(r"((?:[\w-]+:)*)(.*)", re.DOTALL)  # as "sample:1000:50:folder:" before a path
OF_FILES = ("folder:", "dpr-qas:", "peerqa:")  # what follows is always a path
PLACED = re.compile(r"(?:~[^/]*|\.{1,2})?/.*", re.DOTALL)  # a path, by its beginning
PUBLISHED_KEYS = (  # of every record upstream
    "stage", "version", "address", "parents", "arguments", "created", "seconds", "device", "commit", "dirty",
    "versions",
)  # fmt: skip


@dataclass(frozen=True)
class Publication:
    """A checkpoint and its evaluations.

    Args:
        checkpoint: an artifact with the weights.
        evaluations: artifacts with values per query, of rankings that were searched with these weights.
        notes: a line for each evaluation that had to be left out.
    """

    checkpoint: Artifact
    evaluations: list[Artifact]
    notes: list[str]


def publication(name: str, root: Path) -> Publication:
    """Find what there is to publish of an artifact.

    Args:
        name: the address or directory of a checkpoint, with all its evaluations in the same root; or of an evaluation,
            with the checkpoint that it is of.
        root: the directory of all artifacts, for an address.

    Raises:
        InputError: there is no such artifact, it is damaged, or is neither.
    """
    path = Path(name) if Path(name).is_dir() else location(root, name)
    if not path.is_dir():
        raise InputError(f"There is no artifact {name}, neither as a path nor as an address in {root}.")
    artifact = Artifact.open(path.resolve())
    if artifact.has(WEIGHTS):
        return Publication(artifact, *evaluations_of(artifact))
    if is_evaluation(artifact.record) and (checkpoint := checkpoint_of(artifact)):
        return Publication(checkpoint, [artifact], [])
    raise InputError(
        f"{artifact.address} is neither a checkpoint (such as train-…) nor an evaluation of a searched index "
        "(evaluate-…); name one of these. The plan of a configuration lists their addresses."
    )


def is_evaluation(record: dict[str, Any]) -> bool:
    """Whether a record is that of values per query of a ranking."""
    return "ranking" in record.get("parents", {}) and VALUES in record.get("sha256", {})


def parent(artifact: Artifact, role: str) -> Artifact | None:
    """The parent in this role, even if other parents were deleted; None if it has no such parent.

    Raises:
        InputError: it was deleted or is damaged.
    """
    address = artifact.record["parents"].get(role)
    return None if address is None else Artifact.open(location(artifact.path.parents[1], address))


def encoded_for(index: Artifact) -> Artifact | None:
    """The embeddings of all tokens that an index was made from, before any reduction; None if it has none.

    Raises:
        InputError: an artifact on the way was deleted or is damaged.
    """
    found = parent(index, "embeddings")
    while found and "embeddings" in found.record["parents"]:
        found = parent(found, "embeddings")
    return found


def checkpoint_of(evaluation: Artifact) -> Artifact | None:
    """The checkpoint whose index was searched; None if there was no such index, as for BM25.

    Raises:
        InputError: an artifact on the way was deleted or is damaged.
    """
    ranking = parent(evaluation, "ranking")
    index = ranking and parent(ranking, "index")
    encoded = index and encoded_for(index)
    return encoded and parent(encoded, "checkpoint")


def evaluations_of(checkpoint: Artifact) -> tuple[list[Artifact], list[str]]:
    """The evaluations of a checkpoint in its root, oldest first, and a note for each that can't be read."""
    found, notes = [], []
    for file in sorted(checkpoint.path.parents[1].glob(f"*/*/{RECORD}")):
        try:
            if not is_evaluation(read_json(file)):
                continue
            evaluation = Artifact.open(file.parent)
            of = checkpoint_of(evaluation)
        except InputError as error:
            notes.append(f"{file.parent.name} is left out: {error}")
            continue
        if of is not None and of.address == checkpoint.address:
            found.append(evaluation)
    return sorted(found, key=lambda one: (one.record["created"], one.address)), notes


def trainings(checkpoint: Artifact) -> list[Artifact]:
    """The trainings that led to a checkpoint, first round first; empty for an untrained one."""
    return [one for one in reversed(rounds(checkpoint)) if "recipe" in one.arguments]


def members(checkpoint: Artifact) -> dict[str, str]:
    """Name → address of the checkpoints that a checkpoint is the mean of; empty if it is no mean.

    The one whose tokenizer and settings the mean has comes first, with the name ``""``.
    """
    parents = checkpoint.record["parents"]
    others = {role.removeprefix("others."): address for role, address in parents.items() if role.startswith("others.")}
    return {"": parents["checkpoint"], **others} if others and "checkpoint" in parents else {}


def rounds(checkpoint: Artifact) -> list[Artifact]:
    """The checkpoint and those that it was trained from, newest first, as far as they have not been deleted."""
    found = [checkpoint]
    while before := found[-1].record["parents"].get("checkpoint"):
        place = location(checkpoint.path.parents[1], before)
        if not Artifact.present(place):
            break
        found.append(Artifact.open(place))
    return found


def made_from(checkpoint: Artifact, of: str = "", seen: set[str] | None = None) -> Iterator[tuple[str, Artifact]]:
    """Yield every checkpoint on the way to this one, first one first, each once, as far as it has not been deleted.

    The members of a mean come before it, each with those on the way to it.

    Args:
        checkpoint: the last one.
        of: what the label of a member adds.
        seen: addresses that are left out, updated in place.

    Yields:
        A label with the number of trainings so far, such as ``Round 2`` or ``Round 1 of the member `seed7```, and the
        checkpoint.
    """
    seen, number = set() if seen is None else seen, 0
    for one in reversed(rounds(checkpoint)):
        number += "recipe" in one.arguments
        if one.address in seen:
            continue
        seen.add(one.address)
        for name, address in members(one).items():
            if Artifact.present(place := location(one.path.parents[1], address)):
                yield from made_from(Artifact.open(place), f"{of} of the member `{name}`", seen)
        yield f"Round {number}{of}", one


def lineage(publication: Publication) -> list[dict[str, Any]]:
    """Everything upstream of the checkpoint and its evaluations: how each artifact was made, in the order of work."""
    artifacts = in_order(one for start in (publication.checkpoint, *publication.evaluations) for one in start.lineage())
    return [
        {
            name: public_arguments(one) if name == "arguments" else public(one.record[name])
            for name in PUBLISHED_KEYS
            if name in one.record
        }
        for one in artifacts
    ]


def public_arguments(artifact: Artifact) -> dict[str, Any]:
    """The arguments of an artifact as :func:`public` has them, also the names of models in local directories.

    Artifacts of earlier versions do not say which models were local.
    """
    arguments = public(artifact.arguments)
    for role, facts in artifact.record.get("inputs", {}).items():
        if facts.get("local") and isinstance(arguments.get(role), dict) and "/" in str(arguments[role].get("name")):
            arguments[role]["name"] = f"…/{Path(arguments[role]['name']).name}"
    return arguments


def sources_of(component: Any) -> list[str]:
    """The ids of a collection or of queries, as recorded; of a mixture, those of all its collections.

    >>> sources_of({"id": "stdlib"}), sources_of({"parts": {"a": {"id": "stdlib"}, "b": {"id": "beir/scifact"}}})
    (['stdlib'], ['stdlib', 'beir/scifact'])
    """
    if not isinstance(component, dict):
        return []
    parts = component.get("parts", {"": component})
    return [str(one["id"]) for one in parts.values() if "id" in one]


def in_order(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The artifacts, each once, in the order in which they were made; ``Artifact.lineage`` has children first."""
    each = {one.address: one for one in artifacts}
    return sorted(reversed(each.values()), key=lambda one: one.record["created"])  # stable within a second


def public(value: Any, parts: int = 1) -> Any:
    """A value without the directories of this machine: of a path only the last part is kept.

    A path begins with ``/``, ``~``, ``./`` or ``../``, or with a scheme of files such as ``folder:``; other names with
    a ``/`` are paths if there is such a file or directory here. Of queries the last two parts are kept if the last is
    a split.

    >>> public({"id": "folder:/home/me/mine", "name": "~/models/bert", "of": ["beir/scifact"], "k": 3})
    {'id': 'folder:…/mine', 'name': '…/bert', 'of': ['beir/scifact'], 'k': 3}
    >>> public({"_target_": "colbertv2.data.queries.Queries", "id": "folder:/home/me/mine/test"})["id"]
    'folder:…/mine/test'
    >>> public("sample:1000:50:hf:../clients/mine"), public("sample:1000:50:beir/scifact")
    ('sample:1000:50:hf:…/mine', 'sample:1000:50:beir/scifact')
    """
    if isinstance(value, dict):
        parts = 2 if str(value.get("_target_")).endswith(".Queries") else 1
        return {key: public(item, parts) for key, item in value.items()}
    if isinstance(value, list):
        return [public(item, parts) for item in value]
    return public_text(value, parts) if isinstance(value, str) else value


def public_text(text: str, parts: int) -> str:
    """A text with at most the last ``parts`` parts of it, if it is a path; see :func:`public`."""
    found = SCHEMES.fullmatch(text)
    if found is None or "/" not in text or ("://" in text and not text.startswith("file:")):
        return text
    schemes, path = found[1], found[2]
    place = Path(re.sub(r"\+[^/]*", "", path))  # without the subset of a data set
    if not (PLACED.fullmatch(path) or schemes.endswith(OF_FILES) or is_here(place) or is_here(place.parent, deep=True)):
        return text
    if "+" in path.rpartition("/")[2] or is_here(place) or not (schemes.endswith("folder:") or is_here(place.parent)):
        parts = 1  # the last part is the data set itself, or may be: it is not known to be a split
    kept = [part for part in Path(re.sub(r"^~[^/]*", "", path)).parts if not re.fullmatch(r"/+|\.\.", part)]
    return f"{schemes}…/{'/'.join(kept[-parts:])}"


def is_here(path: Path, deep: bool = False) -> bool:
    """Whether a file or directory of this name exists here; with ``deep`` only for a name of several parts."""
    if deep and len(path.parts) < 2:
        return False
    try:
        return path.expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user, or a zero byte: no path
        return False
