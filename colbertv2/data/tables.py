"""Tables that Hugging Face ``datasets`` reads: of a data set on the hub, or in local Parquet, JSON or Arrow files.

A data set has tables (the hub calls them configurations or subsets), and a table has splits. Rows are streamed. Local
files are found by their names:

- ``corpus.parquet``, ``queries.jsonl``, ``qrels-test.jsonl``, …: one file per table, or per split of a table;
- ``qrels/test.parquet``, ``corpus/part-00000-of-00002.parquet``, …: one folder per table, with a split per file name;
- ``train.parquet``, ``test-00000-of-00002.parquet``, … without a table of documents: the splits of one table;
- what ``save_to_disk`` of ``datasets`` wrote, with a folder per split, or per table;
- a folder whose ``README.md`` lists configurations, such as a clone of a data set of the hub: as that says.

``datasets`` is an optional package, the extra ``datasets`` of this project.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

from colbertv2.errors import InputError
from colbertv2.files import sha256, sha256_of_files

# Not CSV, in which an id has no type: 007 would become 7. TSV is read by ``folder:``.
FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".arrow": "arrow"}
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
SAVED, DESCRIPTIONS = "data", ("dataset_info.json", "dataset_dict.json", "state.json")  # files of save_to_disk
BATCH_ROWS = 1000  # rows of a Parquet file in memory at a time
DOCUMENT_TABLES = ("corpus", "documents", "docs")
ONLY = "default"  # the name of the only table of a data set, as on the hub
SHARD = re.compile(r"-\d{5}-of-\d{5}$")
COMMIT = re.compile(r"[0-9a-f]{40}")
SUBSET, SPLIT = r"(?:\+(?P<subset>[^/+@]+))", r"(?:/(?P<split>[^/+@]+))"
LOCAL = [re.compile(rf"(?P<path>.+?){subset}{split}") for subset in ("", SUBSET) for split in ("", SPLIT)]
ON_HUB = re.compile(rf"(?P<path>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/+@]+))?{SUBSET}?{SPLIT}?")


class Address(NamedTuple):
    """Where a data set is: a local path or a name on the hub, and which part of it is meant."""

    path: str
    revision: str | None = None
    subset: str | None = None
    split: str | None = None
    is_local: bool = False

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse ``<path>[+subset][/split]`` of local files, or ``owner/name[@revision][+subset][/split]`` of the hub.

        A path with files wins over a name on the hub, as in ``datasets``.

        Raises:
            InputError: the text is neither.

        >>> Address.parse("mteb/MIRACLRetrieval@main+de/dev")[:4]
        ('mteb/MIRACLRetrieval', 'main', 'de', 'dev')
        """
        for pattern in LOCAL:
            if (match := pattern.fullmatch(text)) and is_data(path := Path(match["path"]).expanduser().absolute()):
                parts = {"subset": None, "split": None, **match.groupdict()}
                return cls(str(path), None, parts["subset"], parts["split"], is_local=True)
        if match := ON_HUB.fullmatch(text):
            return cls(match["path"], match["revision"], match["subset"], match["split"])
        raise InputError(
            f"{text!r} is no data set: expected a folder with files of {', '.join(FORMATS)}, or a name on the hub such "
            "as mteb/scifact, mteb/scifact/test or mteb/MIRACLRetrieval@main+de/dev (@revision, +subset, /split)."
        )


@dataclass(frozen=True, eq=False)
class TableSplit:
    """One split of a table: what messages call it, and how ``datasets.load_dataset`` finds it."""

    where: str
    arguments: Mapping[str, Any]
    files: tuple[Path, ...]  # of a local table without README.md
    is_local: bool

    def rows(self, stream: bool = True) -> Iterator[dict[str, Any]]:
        """Yield the rows, streamed.

        Args:
            stream: read a table of the hub without keeping it on disk; otherwise it stays in the cache of ``datasets``.

        Raises:
            InputError: the table can't be read.
        """
        with understood(self.where):
            yield from library().load_dataset(**self.arguments, streaming=stream or self.is_local)

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, read from the first row.

        Raises:
            InputError: the table can't be read, or has no rows.
        """
        with understood(self.where):
            first = next(iter(library().load_dataset(**self.arguments, streaming=True)), None)
        if first is None:
            raise InputError(f"{self.where} has no rows; expected at least one.")
        return list(first)

    def column(self, names: Sequence[str], meaning: str) -> str:
        """The first of ``names`` that is a column.

        Raises:
            InputError: there is none of them.
        """
        if found := next((name for name in names if name in self.columns), None):
            return found
        raise InputError(
            f"{self.where} has no column with the {meaning}: expected one of {', '.join(names)}, found "
            f"{', '.join(self.columns)}. Rename the column, for example with rename_column of datasets."
        )


class Tables:
    """The tables of a data set.

    Args:
        address: where it is.

    Raises:
        InputError: ``datasets`` is not installed. Later: the data set does not exist or can't be read.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        library()

    @property
    def where(self) -> str:
        """What messages call the data set."""
        return self.address.path

    @cached_property
    def by_name(self) -> dict[str, dict[str, list[Path]]]:
        """Table → split → files, of a local data set without a ``README.md`` that lists them; otherwise empty."""
        path = Path(self.address.path)
        return local_tables(path) if self.address.is_local and not has_configurations(path) else {}

    @cached_property
    def revision(self) -> str | None:
        """The commit of a data set of the hub, looked up once, so that all tables come from the same; None if local."""
        if self.address.is_local or COMMIT.fullmatch(self.address.revision or ""):
            return self.address.revision
        from huggingface_hub import HfApi

        with understood(self.where):
            return HfApi().dataset_info(self.address.path, revision=self.address.revision).sha

    @cached_property
    def names(self) -> list[str]:
        """The names of the tables."""
        if self.by_name:
            return list(self.by_name)
        with understood(self.where):
            return library().get_dataset_config_names(self.address.path, revision=self.revision)

    def first(self, names: Sequence[str]) -> str | None:
        """The first of ``names`` that is a table, or None."""
        return next((name for name in names if name in self.names), None)

    def splits(self, name: str) -> list[str]:
        """The splits of a table."""
        if self.by_name:
            return list(self.by_name[name])
        with understood(f"{self.where}, table {name}"):
            return library().get_dataset_split_names(self.address.path, name, revision=self.revision)

    def table(self, name: str, split: str | None, exact: bool) -> TableSplit | None:
        """One split of a table, or None if it lacks it.

        Args:
            name: one of ``names``.
            split: the split; None takes the only one.
            exact: whether it must be ``split``. Otherwise the only split of a table serves for every split, as the
                corpus of a benchmark does.
        """
        splits = self.splits(name)
        if split not in splits:
            if len(splits) != 1 or (exact and split is not None):
                return None
            split = splits[0]
        where = f"{self.where}, table {name}, split {split}"
        if self.by_name:
            files = tuple(self.by_name[name][split])
            return TableSplit(where, reader_of(files), files, True)
        found = {"path": self.address.path, "name": name, "split": split, "revision": self.revision}
        return TableSplit(where, found, (), self.address.is_local)

    def fingerprint(self, table: TableSplit) -> str:
        """A string that changes with whatever determines the rows of a table: files and their times, or the commit."""
        files = table.files or (all_files(Path(self.address.path)) if self.address.is_local else ())
        status = [f"{file}\t{file.stat().st_size}\t{file.stat().st_mtime_ns}" for file in files]
        return sha256("\n".join([table.where, str(self.revision), *status]).encode())[:16]

    def identity(self, table: TableSplit) -> dict[str, str]:
        """What identifies the content of a table: the hash of its files, or the commit and names of one of the hub."""
        if not self.address.is_local:
            return {"dataset": table.where, "revision": str(self.revision)}
        files = table.files or all_files(Path(self.address.path))
        named = {} if table.files else {"table": table.arguments["name"], "split": table.arguments["split"]}
        return {"sha256": sha256_of_files(*files), **named}


def local_tables(path: Path) -> dict[str, dict[str, list[Path]]]:
    """Find table → split → files by the names of the files at ``path``.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("corpus.parquet", "qrels-test.jsonl", "qrels-train-00000-of-00001.jsonl"):
    ...     (folder / name).touch()
    >>> {name: list(splits) for name, splits in local_tables(folder).items()}
    {'corpus': ['train'], 'qrels': ['test', 'train']}
    """
    found: dict[str, dict[str, list[Path]]] = {}
    files = sorted(data_files(path))
    names = {stem_of(file) for file in files} | {file.parent.name for file in files if file.parent != path}
    has_documents = any(re.search(r"(^|-)(corpus|documents|docs)($|[-.])", name) for name in names)
    for file in files:
        stem = stem_of(file)
        if file.parent != path and path.is_dir():
            name, split = file.parent.name, stem
            if stem == SAVED:  # by save_to_disk: a folder for each split, or for each table
                name, split = (name, "train") if has_documents else (ONLY, name)
        elif not has_documents:
            name, split = ONLY, stem
        else:
            cut = re.fullmatch(r"((?:.+-)?(?:queries|qrels|corpus|documents|docs))[-.]([^-.]+)", stem)
            name, split = (cut[1], cut[2]) if cut else (stem, "train")
        found.setdefault(name, {}).setdefault(split, []).append(file)
    return found


def stem_of(file: Path) -> str:
    """The name of a file without its suffixes and without the number of a shard."""
    name = file.name.removesuffix(next((end for end in COMPRESSED if file.name.endswith(end)), ""))
    return SHARD.sub("", Path(name).stem)


def format_of(file: Path) -> str | None:
    """The name of the reader of ``datasets`` for a file, or None if it is no file of data."""
    name = file.name.removesuffix(next((end for end in COMPRESSED if file.name.endswith(end)), ""))
    return None if name in DESCRIPTIONS else FORMATS.get(Path(name).suffix)


def data_files(path: Path) -> Iterator[Path]:
    """The files of data at ``path``: itself, or those in it and in its folders."""
    if path.is_file() and format_of(path):
        yield path
    elif path.is_dir():
        for one in sorted(path.iterdir()):
            if one.is_file() and format_of(one) and not one.name.startswith((".", "_")):
                yield one
            elif one.is_dir():
                yield from (file for file in sorted(one.iterdir()) if file.is_file() and format_of(file))


def all_files(path: Path) -> list[Path]:
    """All files below a folder that ``README.md`` describes, without hidden ones such as those of git."""
    found = [file for file in path.rglob("*") if file.is_file()]
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))


def is_data(path: Path) -> bool:
    """Whether there are files of data at a path."""
    return next(data_files(path), None) is not None or has_configurations(path)


def has_configurations(path: Path) -> bool:
    """Whether a folder has a ``README.md`` that lists configurations in its header, as on the hub."""
    readme = path / "README.md"
    if not readme.is_file():
        return False
    head = readme.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    return head.startswith("---") and re.search(r"^configs:", head, re.MULTILINE) is not None


def reader_of(files: Sequence[Path]) -> dict[str, Any]:
    """The arguments of ``datasets.load_dataset`` for local files.

    Raises:
        InputError: they have several formats.
    """
    kinds = {format_of(file) for file in files}
    if len(kinds) > 1:
        raise InputError(f"{files[0].parent} has the same table in several formats: {', '.join(map(str, files))}.")
    kind = kinds.pop()
    # Otherwise a batch is a row group, which may be a complete file, and an empty one is an error.
    batches = {"batch_size": BATCH_ROWS} if kind == "parquet" else {}
    return {"path": kind, "data_files": {"train": [str(file) for file in files]}, "split": "train", **batches}


def library() -> Any:
    """The package ``datasets``.

    Raises:
        InputError: it is not installed.
    """
    try:
        datasets = import_module("datasets")
    except ImportError as error:
        raise InputError(
            f"Reading tables of Hugging Face needs the package datasets ({error}); run: pip install "
            "'colbertv2[datasets]'."
        ) from None
    if not hasattr(datasets, "load_dataset"):
        raise InputError(
            f"datasets is not Hugging Face's package but {list(getattr(datasets, '__path__', []))}; run elsewhere, or "
            "rename that folder."
        )
    # Otherwise every opening of a local table is reported to a server, for seconds where there is no network.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return datasets


@contextmanager
def understood(where: str) -> Iterator[None]:
    """Turn any failure of ``datasets`` or of the hub into ``InputError``; they raise errors of many packages."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if any(part in type(error).__name__ for part in ("NotFound", "Gated")):
            raise InputError(
                f"{where} is neither here nor on the hub, or is not public ({type(error).__name__}). Check the name "
                "and the revision, and log in (hf auth login) if access is restricted."
            ) from error
        said = f"{type(error).__name__}: {shorten(str(error.__cause__ or error), 200)}"
        raise InputError(
            f"{where} can't be read ({said}). Check the files, or the connection to the hub. Without a connection only "
            "what was fetched before can be read, with HF_HUB_OFFLINE=1 and the full commit as revision."
        ) from error
