"""TREC run files with ir_metadata: a header that says how a run was made (https://www.ir-metadata.org, schema 0.1).

The header is YAML in lines that begin with ``#``, in the six parts of PRIMAD: platform, research goal, implementation,
method, actor, data. Only what the artifacts recorded is stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from colbertv2.artifacts.artifact import Artifact
from colbertv2.evaluation.ranking import METADATA_END, METADATA_START, stored_ranking
from colbertv2.sharing.provenance import encoded_for, made_from, parent, public, sources_of

SCHEMA = 0.1
HASH = "# "


def write_run(ranking: Artifact, checkpoint: Artifact, measures: Sequence[str], author: str | None, file: Path) -> None:
    """Write the run of ``ranking`` to ``file``, with its header; its equal scores go into a file beside it.

    :meth:`~colbertv2.evaluation.ranking.Ranking.read` reads both, and ``repro_eval`` reads the header.

    Args:
        ranking: the artifact with the run.
        checkpoint: the model that it was searched with.
        measures: the measures that were evaluated on it.
        author: who ran it; None to leave that out.
        file: the new run file.

    Raises:
        InputError: a file of the artifact is damaged.
    """
    stored_ranking(ranking).write(file, tag=ranking.address)
    described = yaml.safe_dump(
        metadata(ranking, checkpoint, measures, author), sort_keys=False, allow_unicode=True, width=4096
    )
    header = [METADATA_START, *(f"{HASH}{line}" for line in described.splitlines()), METADATA_END, ""]
    file.write_text("\n".join(header) + file.read_text(encoding="utf-8"), encoding="utf-8", newline="\n")


def metadata(ranking: Artifact, checkpoint: Artifact, measures: Sequence[str], author: str | None) -> dict[str, Any]:
    """The content of the header; the arguments are those of :func:`write_run`."""
    record = ranking.record
    versions = {name: number for name, number in record["versions"].items() if number is not None}
    index = parent(ranking, "index")
    embeddings = index and encoded_for(index)
    test = public(ranking.arguments.get("queries", {}))
    documents = public(embeddings.arguments["documents"]) if embeddings else {}
    return {
        "schema-version": SCHEMA,
        "run-version": 1.0,
        "tag": ranking.address,
        "platform": {
            "hardware": {"cpu": {"model": record["device"]}} if "device" in record else {},
            "software": {
                "libraries": {"python": [f"{name}=={number}" for name, number in versions.items()]},
                "retrieval toolkit": [f"colbertv2=={version('colbertv2')}"],
            },
        },
        "research goal": {"evaluation": {"reported measures": list(measures)}},
        "implementation": {
            "source": {"lang": ["python"], "commit": record["commit"], "uncommitted changes": record["dirty"]}
        },
        "method": {
            "automatic": True,
            "score ties": "descending document id, as in trec_eval",
            "indexing": {
                "tokenizer": f"that of the model {checkpoint.address}",
                "stemmer": None,
                "stopwords": None,
                **({"codec": public(index.arguments["codec"])} if index else {}),
            },
            "retrieval": [
                {
                    "name": ranking.stage,
                    "method": ranking.arguments.get("engine", {}).get("_target_", ranking.stage),
                    "params": public(
                        {
                            name: value
                            for name, value in ranking.arguments.items()
                            if name not in (*ranking.record["parents"], "queries")
                        }
                    ),
                }
            ],
        },
        "actor": {"role": "experimenter", **({"name": author} if author else {})},
        "data": {
            "test collection": {"name": test.get("id"), "topics": test.get("id"), "documents": documents.get("id")},
            "training data": [
                {"name": name, "documents": documents}
                for _, one in made_from(checkpoint)
                if "recipe" in one.arguments
                for name, documents in zip(
                    sources_of(public(one.arguments["queries"])),
                    sources_of(public(one.arguments["documents"])),
                    strict=False,
                )
            ],
        },
    }
