"""The directory of a published model: weights, card, runs and lineage."""

from pathlib import Path

from tqdm import tqdm

from colbertv2.artifacts.integrity import verify
from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.checkpoints.pylate import prompt_names
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import per_query
from colbertv2.files import atomic_path, write_json
from colbertv2.sharing.model_card import Sharing, card
from colbertv2.sharing.provenance import lineage, publication
from colbertv2.sharing.run_metadata import write_run

CARD, RUNS, LINEAGE = "README.md", "runs", "lineage.json"


def write_directory(name: str, root: Path, destination: Path, sharing: Sharing) -> str:
    """Write all that is published of an artifact to a new directory, which appears once it is complete.

    Args:
        name: address or directory of a checkpoint or an evaluation; see
            :func:`~colbertv2.sharing.provenance.publication`.
        root: the directory of all artifacts.
        destination: the new directory.
        sharing: what the user says about the model.

    Returns:
        A text for the user about what was written.

    Raises:
        InputError: there is no such artifact, one is damaged, the layout can't hold the checkpoint, or the destination
            exists.
    """
    found = publication(name, root)
    used = [found.checkpoint, *found.evaluations, *(one.parents["ranking"] for one in found.evaluations)]
    used = list({one.address: one for one in used}.values())
    total = sum(file.stat().st_size for one in used for file in one.path.rglob("*") if file.is_file())
    with tqdm(desc="verify", total=total, unit="B", unit_scale=True, leave=False) as bar:
        if faults := [fault for one in used for fault in verify(one.path, bar).faults]:
            raise InputError("\n".join(faults))
    checkpoint = read_checkpoint(found.checkpoint.path)
    measures: dict[str, dict[str, None]] = {}  # run → the measures of all its evaluations
    for one in found.evaluations:
        measures.setdefault(one.parents["ranking"].address, {}).update(dict.fromkeys(per_query(one).columns))
    with atomic_path(destination, directory=False) as out:
        write_checkpoint(checkpoint, out, sharing.layout)
        (out / CARD).write_text(card(found, checkpoint, sharing, prompt_names(out)), encoding="utf-8", newline="\n")
        write_json(out / LINEAGE, lineage(found))
        for ranking in {one.parents["ranking"].address: one.parents["ranking"] for one in found.evaluations}.values():
            (out / RUNS).mkdir(exist_ok=True)
            file = out / RUNS / f"{ranking.address}.trec"
            write_run(ranking, found.checkpoint, list(measures[ranking.address]), sharing.author, file)
    return "\n".join(
        [
            *(f"note: {note}" for note in found.notes),
            f"{found.checkpoint.address} with {len(found.evaluations)} evaluations and {len(measures)} runs written to "
            f"{destination} ({sharing.layout})",
        ]
    )
