"""A finished directory of a stage, and the ``artifact.json`` that describes it.

``artifact.json`` is written last, and the directory is renamed into place after that: an artifact that exists under its
name is complete.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate

from colbertv2.artifacts.integrity import RECORD, check_address, check_files, check_opening, read_record, seal
from colbertv2.artifacts.node import Node, nearest
from colbertv2.artifacts.stage import stage_of

PACKAGES = {  # name in the record → names of the distribution
    "torch": ("torch",),
    "transformers": ("transformers",),
    "faiss": ("faiss-cpu", "faiss-gpu"),
    "numpy": ("numpy",),
}


@dataclass(frozen=True)
class Artifact:
    """A complete artifact at ``<root>/<stage>/<address>``.

    Args:
        path: its directory. Read its files through ``file``, or with readers of complete directories that check the
            files themselves, such as ``Index.open`` and ``ColBERT.load``.
        record: content of its ``artifact.json``.
    """

    path: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> "Artifact":
        """Open a finished artifact after a quick check of its files.

        The check is :func:`colbertv2.artifacts.integrity.check_opening`.

        Raises:
            InputError: there is no complete artifact at ``path``, or it is damaged.
        """
        record = read_record(path)
        check_address(path, record)
        check_opening(path, record)
        return cls(path, record)

    @staticmethod
    def present(path: Path) -> bool:
        """Whether there is a complete artifact at ``path``."""
        return (path / RECORD).is_file()

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return self.record["stage"]

    @property
    def provides(self) -> Sequence[str]:
        """What it holds for other stages, as its stage declared it (:class:`~colbertv2.artifacts.stage.Stage`)."""
        if "provides" in self.record:
            return self.record["provides"]
        declared = stage_of(get_object(f"colbertv2.stages.{self.stage}.run"))  # an artifact of an earlier version
        return declared.provides if declared else ()

    @property
    def address(self) -> str:
        """Name of its directory: the stage's name and the digest, as in ``index-3f9a1c2b7d``."""
        return self.record["address"]

    @property
    def arguments(self) -> dict[str, Any]:
        """Resolved configuration of the stage, with parents as their addresses and components as mappings."""
        return self.record["arguments"]

    def file(self, name: str, mapped: bool = False) -> Path:
        """The path of one of its files, after every byte has been compared with the record.

        Args:
            mapped: the file will be memory-mapped and may be large: skip the comparison if it has not changed since
                the last one.

        Raises:
            InputError: it is missing or damaged.
        """
        check_files(self.path, self.record, [name], mapped)
        return self.path / name

    def has(self, name: str) -> bool:
        """Whether the stage wrote a file with this name."""
        return name in self.record["sha256"]

    @cached_property
    def parents(self) -> dict[str, "Artifact"]:
        """The artifacts it was built from, by role.

        Raises:
            InputError: one of them was deleted.
        """
        root = self.path.parents[1]
        return {role: Artifact.open(location(root, address)) for role, address in self.record["parents"].items()}

    def ancestor(self, role: str) -> "Artifact":
        """The nearest ancestor with this ``role``: breadth first through everything upstream, excluding itself.

        Raises:
            InputError: no ancestor has this role, or an artifact on the way was deleted.
        """
        return nearest(self, role)

    def lineage(self) -> "list[Artifact]":
        """The artifact and all its ancestors that have not been deleted, each once."""
        found: dict[str, Artifact] = {}
        waiting = [self]
        while waiting:
            one = waiting.pop()
            if one.address not in found:
                found[one.address] = one
                places = [location(self.path.parents[1], address) for address in one.record["parents"].values()]
                waiting += [Artifact.open(place) for place in places if Artifact.present(place)]
        return list(found.values())

    def component(self, name: str) -> Any:
        """A new instance of a component that the artifact was built with: ``embeddings.component("collection")``."""
        return instantiate({"_convert_": "all", **self.arguments[name]})


def location(root: Path, address: str) -> Path:
    """The directory of the artifact with this address, whether or not it exists.

    >>> location(Path("artifacts"), "index-3f9a1c2b7d").as_posix()
    'artifacts/index/index-3f9a1c2b7d'
    """
    return root / address.rpartition("-")[0] / address


def write_record(directory: Path, node: Node, seconds: float, code: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write ``artifact.json`` for the files in ``directory``.

    Args:
        directory: the directory that the stage has filled.
        node: the node that was built.
        seconds: wall-clock time of the run; of the last run if the stage was resumed.
        code: :func:`code_state` when the run began.
        measured: device, peak memory and whether the run was resumed, from which later plans are estimated.
    """
    record = {
        "stage": node.stage.name,
        "version": node.stage.version,
        "provides": [*node.stage.provides],
        "address": node.address,
        "arguments": node.arguments,
        "identity": node.identity,
        "inputs": node.sizes,
        "parents": {role: parent.address for role, parent in node.parents.items()},
        "seconds": round(seconds, 3),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **code,
        **measured,
    }
    seal(directory, record)


def code_state() -> dict[str, Any]:
    """The Git commit, whether code or configuration differs from it, and the versions of Python and key libraries.

    ``commit`` and ``dirty`` are ``None`` if the package is not in a checkout of its own repository.
    """
    repository = Path(__file__).resolve().parents[2]
    commit = dirty = None
    toplevel = _git(repository, "rev-parse", "--show-toplevel")
    if toplevel and Path(toplevel).resolve() == repository:
        commit = _git(repository, "rev-parse", "HEAD")
        changes = _git(repository, "status", "--porcelain", "--", "colbertv2", "conf", "experiments")
        dirty = None if commit is None or changes is None else bool(changes)
    versions = {"python": sys.version.split()[0], **{name: _version(names) for name, names in PACKAGES.items()}}
    return {"commit": commit, "dirty": dirty, "versions": versions}


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _version(distributions: tuple[str, ...]) -> str | None:
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None
