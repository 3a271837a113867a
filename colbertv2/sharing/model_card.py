"""The model card: what a checkpoint is, how it is used, what was measured and how it was made, all from artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from colbertv2.artifacts.artifact import Artifact
from colbertv2.checkpoints.checkpoint import Checkpoint
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import index_statistics, per_query, remarks, timing
from colbertv2.evaluation.measures import NOTHING, fraction, plain
from colbertv2.sharing.history import steps
from colbertv2.sharing.provenance import (
    Publication,
    encoded_for,
    members,
    parent,
    public,
    public_arguments,
    rounds,
    trainings,
)

if TYPE_CHECKING:
    import pandas as pd
    from huggingface_hub import EvalResult

SEED = 42  # of the resampling
METRICS = {"RR": "mrr", "R": "recall", "P": "precision", "AP": "map"}  # the hub's names where they differ
OURS = """```python
from colbertv2 import ColBERT, TextIndex

model = ColBERT.load("{name}")
index = TextIndex.build(model, ["a text", "another text"])
index.search("a query", k=1)
```"""
PYLATE = """```python
from pylate import models

model = models.ColBERT(model_name_or_path="{name}")
queries = model.encode(["a query"], is_query=True{query})
documents = model.encode(["a text", "another text"], is_query=False{document})
```"""
SENTENCE_TRANSFORMERS = """```python
from sentence_transformers import MultiVectorEncoder

model = MultiVectorEncoder("{name}")
```"""
LIBRARIES = {"pylate": "PyLate", "sentence_transformers": "sentence-transformers"}  # as the hub names them
CONVERT = (
    "it can't read this layout (`{layout}`). Convert a copy first: `python -m colbertv2 convert checkpoint {name} "
    "<new directory> --to pylate`."
)
READ_BY = {  # system → the layouts that it reads, and how
    "PyLate": (("pylate", "official"), PYLATE),
    "sentence-transformers 6": (("pylate", "official", "sentence_transformers"), SENTENCE_TRANSFORMERS),
}


@dataclass(frozen=True)
class Sharing:
    """What the user says about a model that is published.

    Args:
        name: what to load it by: ``owner/name`` on the hub, or the directory's name.
        title: the title of the card.
        licence: as the hub names it, such as ``mit`` or ``cc-by-nc-4.0``.
        layout: the layout of its weights.
        language: codes of its languages, such as ``en``; may be empty.
        author: who made it; None to leave that out.
    """

    name: str
    title: str
    licence: str
    layout: str
    language: tuple[str, ...] = ()
    author: str | None = None


def card(found: Publication, checkpoint: Checkpoint, sharing: Sharing, prompts: Mapping[str, str]) -> str:
    """The text of the model card (``README.md``), with the metadata that the hub reads at its top.

    Args:
        found: the artifacts.
        checkpoint: the weights that are published.
        sharing: what the user says.
        prompts: task → the name of its prompt in the published weights, see
            :func:`~colbertv2.checkpoints.pylate.prompt_names`.

    Raises:
        InputError: a file of an artifact is missing or damaged.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("colbertv2.sharing", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {one.address: per_query(one) for one in found.evaluations}
    return environment.get_template("model_card.md.jinja").render(
        title=sharing.title,
        metadata=metadata(found, sharing, values),
        dim=checkpoint.dim,
        backbone=backbone_of(found.checkpoint),
        properties=properties(checkpoint),
        uses=uses(sharing, prompts),
        results=results(found, values),
        caption=caption(),
        notes=notes(found, checkpoint.tokenization),
        rounds=len(trainings(found.checkpoint)),
        averaged=len(members(found.checkpoint)),
        steps=steps(found.checkpoint),
        made=made(found.checkpoint),
        licence=f"`{sharing.licence}`" + (f", {sharing.author}" if sharing.author else ""),
    )


def metadata(found: Publication, sharing: Sharing, values: Mapping[str, pd.DataFrame]) -> str:
    """The hub's metadata as YAML, with the results in its model index."""
    from huggingface_hub import ModelCardData

    backbone = backbone_of(found.checkpoint)
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", backbone)  # no local directory: those begin with "…/"
    return ModelCardData(
        license=sharing.licence,
        language=list(sharing.language) or None,
        library_name=LIBRARIES.get(sharing.layout, "colbertv2"),
        base_model=backbone if on_hub else None,
        pipeline_tag="sentence-similarity",
        tags=["ColBERT", "late-interaction", "retrieval", "colbertv2"],
        model_name=sharing.title,
        eval_results=list(eval_results(found, values)) or None,
    ).to_yaml()


def eval_results(found: Publication, values: Mapping[str, pd.DataFrame]) -> Iterator[EvalResult]:
    """The means as the hub's model index has them, each with its codec and engine; unknown measures are left out."""
    from huggingface_hub import EvalResult

    for evaluation in found.evaluations:
        queries, ranking = queries_of(evaluation), evaluation.parents["ranking"]
        system = f"{index_statistics(ranking).get('codec', NOTHING)}, {engine_of(ranking)}"
        for measure, mean in values[evaluation.address].mean().dropna().items():
            yield EvalResult(
                task_type="information-retrieval",
                task_name="Retrieval",
                dataset_type=queries,
                dataset_name=queries,
                metric_type=metric(str(measure)),
                metric_name=f"{measure} ({system})",
                metric_value=round(float(mean), 5),
            )


def metric(measure: str) -> str:
    """The hub's name of a measure.

    >>> metric("RR@10"), metric("nDCG@10")
    ('mrr_at_10', 'ndcg_at_10')
    """
    name, _, cutoff = measure.partition("@")
    return METRICS.get(name, name.lower()) + (f"_at_{cutoff}" if cutoff else "")


def uses(sharing: Sharing, prompts: Mapping[str, str]) -> dict[str, str]:
    """System → how it loads the model, or what to do first if it can't read the layout.

    PyLate puts a prompt before a text only if the caller names it; ``prompts`` has the names, by task.
    """
    named = {task: f', prompt_name="{prompts[task]}"' if task in prompts else "" for task in ("query", "document")}
    texts = {"colbertv2": OURS.format(name=sharing.name)}
    for system, (layouts, how) in READ_BY.items():
        text = how if sharing.layout in layouts else CONVERT
        texts[system] = text.format(name=sharing.name, layout=sharing.layout, **named)
    return texts


def properties(checkpoint: Checkpoint) -> str:
    """A table of what the weights are, and of every setting of the tokenization."""
    from colbertv2.reporting.rendering import markdown_rows

    parameters = sum(tensor.numel() for tensor in checkpoint.encoder.values())
    rows = [
        ["encoder", f"{checkpoint.config.get('model_type')}, {parameters:,} parameters"],
        ["dimensions of a token vector", str(checkpoint.dim)],
    ]
    for field in fields(checkpoint.tokenization):
        value = getattr(checkpoint.tokenization, field.name)
        rows.append([field.name, ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else as_words(value)])
    return "\n".join(markdown_rows(["property", "value"], rows, padded=False))


def as_words(value: object) -> str:
    """A setting as a reader would say it.

    >>> as_words(True), as_words(None), as_words(32)
    ('yes', 'none', '32')
    """
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)


def results(found: Publication, values: Mapping[str, pd.DataFrame]) -> str:
    """A table of all measured values with intervals, one row per evaluation; empty without evaluations."""
    from colbertv2.reporting.rendering import markdown_rows

    known = [table.dropna(axis="columns", how="all") for table in values.values()]
    measures = list(dict.fromkeys(str(one) for table in known for one in table.columns))
    rows = []
    for evaluation in found.evaluations:
        table, ranking = values[evaluation.address], evaluation.parents["ranking"]
        sizes = index_statistics(ranking)
        cells = with_intervals(table)
        rows.append(
            [
                queries_of(evaluation),
                f"{len(table):,}",
                str(sizes.get("codec", NOTHING)),
                engine_of(ranking),
                *(cells.get(one, NOTHING) for one in measures),
                plain(sizes.get("bytes_per_token", float("nan")), 1),
                plain(timing(ranking).get("ms_per_query", float("nan")), 1),
            ]
        )
    header = ["test", "queries", "codec", "engine", *measures, "bytes per token", "ms per query"]
    return "\n".join(markdown_rows(header, rows, (0, 2, 3), padded=False)) if rows else ""


def with_intervals(table: pd.DataFrame) -> dict[str, str]:
    """Measure → its mean and 95 % interval, ``.712 [.690, .734]``; a dash if it is not known."""
    from colbertv2.evaluation.intervals import bootstrap_intervals

    ends = bootstrap_intervals(table.to_numpy(), SEED)
    return {
        str(name): NOTHING if low != low else f"{fraction(mean)} [{fraction(low)}, {fraction(high)}]"
        for (name, mean), (low, high) in zip(table.mean().items(), ends.tolist(), strict=True)
    }


def caption() -> str:
    """What the numbers of the table of results are."""
    from colbertv2.evaluation.intervals import RESAMPLES

    return (
        f"Means over the queries; in brackets 95 % percentile bootstrap intervals over queries ({RESAMPLES:,} "
        "resamples). Bytes per token are those of a compressed vector. Milliseconds per query are without encoding the "
        "query."
    )


def notes(found: Publication, tokenization: Tokenization) -> list[str]:
    """What a reader of the results must know, each once; ``tokenization`` is that of the published weights."""
    found_notes = [f"{queries_of(one)}: {remark}" for one in found.evaluations for remark in remarks(one)]
    for one in found.evaluations:
        if other := measured_otherwise(one, tokenization):
            ranking = one.parents["ranking"]
            codec = index_statistics(ranking).get("codec", NOTHING)
            name = f"{queries_of(one)}, {codec}, {engine_of(ranking)} (`{ranking.address}`)"
            found_notes.append(f"{name}: measured with {'; '.join(other)}.")
    return list(dict.fromkeys(found_notes))


def measured_otherwise(evaluation: Artifact, tokenization: Tokenization) -> list[str]:
    """The prompts and the length that an evaluation was measured with, as far as the published weights have others."""
    ranking = evaluation.parents["ranking"]
    index = parent(ranking, "index")
    embeddings = index and encoded_for(index)
    encoded = embeddings.arguments if embeddings else {}
    measured = {
        "query_prompt": (ranking.arguments.get("queries") or {}).get("prompt"),
        "document_prompt": (encoded.get("documents") or {}).get("prompt"),
        "document_maxlen": encoded.get("document_maxlen"),
    }
    reduced = index and parent(index, "embeddings")
    reduction = reduced and reduced.arguments.get("reduction")
    fewer = [f"fewer vectors per document (`{json.dumps(public(reduction))}`)"] if reduction else []
    return fewer + [
        f"{name} {shown(value)}, where the published weights have {shown(getattr(tokenization, name))}"
        for name, value in measured.items()
        if value not in (None, getattr(tokenization, name))  # None is as the weights have it
    ]


def shown(value: str | int) -> str:
    """A prompt or a length, such that spaces of a prompt can be seen.

    >>> shown("query: "), shown(""), shown(300)
    ('`"query: "`', 'none', '300')
    """
    return str(value) if isinstance(value, int) else f"`{json.dumps(value, ensure_ascii=False)}`" if value else "none"


def queries_of(evaluation: Artifact) -> str:
    """The id of the queries of an evaluation."""
    return str(public(evaluation.arguments.get("queries", {})).get("id", evaluation.address))


def engine_of(ranking: Artifact) -> str:
    """The class of the search engine of a ranking; its stage if it has none."""
    return ranking.arguments.get("engine", {}).get("_target_", ranking.stage).rpartition(".")[2]


def backbone_of(checkpoint: Artifact) -> str:
    """The name of the encoder that the first training started from, without the directories of this machine."""
    first = rounds(checkpoint)[-1]
    return str((public_arguments(first).get("backbone") or {}).get("name", first.address))


def made(checkpoint: Artifact) -> str:
    """A sentence on the artifact, the code and the versions that made the weights."""
    record = checkpoint.record
    commit = f"commit `{record['commit'][:10]}`" if record.get("commit") else "an unknown commit"
    state = " with uncommitted changes" if record.get("dirty") else ""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items() if number)
    return (
        f"The weights are the artifact `{checkpoint.address}`, made on {record['created'][:10]} by {commit}{state} "
        f"({versions})."
    )


def check_sharing(sharing: Sharing) -> None:
    """Check what the user says.

    Raises:
        InputError: a word of it can't be what it is meant to be.
    """
    if not re.fullmatch(r"[a-z0-9.+-]+", sharing.licence):
        raise InputError(
            f"--license is {sharing.licence!r}; expected an identifier as the hub lists them, such as mit, apache-2.0, "
            "cc-by-nc-4.0 or other."
        )
    for code in sharing.language:
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)*|multilingual|code", code):
            raise InputError(f"--language is {code!r}; expected codes of ISO 639, such as en or de.")
