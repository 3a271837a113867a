"""The collections ``packages-pinned`` and ``packages-any``: code search over the packages of the default install.

Documents, queries and judgements are those of ``code_search``, from the source files of the distributions in
``PACKAGES``: about 48,000 pairs. Nothing is downloaded and no package is imported. The table also says in which split
a distribution's queries are. Distributions that build on each other closely are in one split, so neither a package nor
its idioms are in two; all splits search the same documents.

Left out are packages of the default install that would bring copies (forks such as ``httpx2``, backports of the
standard library such as ``multiprocess``), packages whose files depend on the platform (``faiss``), and small ones;
and, in every package, tests, examples, vendored packages and generated code. Of functions with almost the same words,
and of queries with almost the same words, only the first is kept, first those of test, then dev, then train. So no
test query is a near-duplicate of a training query.

``packages-pinned`` wants exactly the versions in the table, which are those of ``constraints.txt`` for Python 3.11 and
3.12, so it is the same on every machine. ``packages-any`` reads what is installed, in any version.
"""

import logging
import re
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import ir_datasets

from colbertv2.data import leakage
from colbertv2.data.sources import code_search
from colbertv2.data.sources.code_search import Pair, cached, read_functions, register_pairs, without_repetitions
from colbertv2.errors import InputError
from colbertv2.files import sha256

PACKAGES = {  # split → distributions and their versions
    "test": """
        networkx==3.6.1 sqlalchemy==1.4.54 alembic==1.13.3 mako==1.4.3 pytest==9.2.0 pluggy==1.7.0
        hypothesis==6.170.15 pillow==13.0.0
    """,
    "dev": """
        ipython==9.18.1 traitlets==5.16.1 jupyter_client==8.10.0 ipykernel==7.4.0 pyzmq==27.3.0 tornado==6.6.1
    """,
    "train": """
        torch==2.13.0 torchmetrics==1.9.0 pytorch-lightning==2.6.6 transformers==5.23.0 accelerate==1.15.0
        peft==0.21.2 sentence-transformers==6.2.0 datasets==5.2.0 huggingface-hub==2.4.0 tensorboard==2.21.0
        protobuf==7.36.2 wandb==0.31.0 sympy==1.14.0 mpmath==1.3.0 pandas==3.1.1 narwhals==2.29.0
        scipy==1.17.1 scikit-learn==1.9.1 numpy==2.4.6 numba==0.68.1 matplotlib==3.11.2 fonttools==4.68.0
        pydantic==2.14.3 prompt_toolkit==3.0.53 cmd2==4.3.1 rich==15.0.0 werkzeug==3.1.9 jinja2==3.1.6
        aiohttp==3.14.5 fsspec==2026.9.0 jedi==0.20.1
    """,
}
VERSIONS = ("pinned", "any")
LEFT_OUT = re.compile(  # names of folders and files
    r"_?tests?|_?testing|conftest\.py|test_.*|.*_tests?\.py|_?vendor(ed)?|_?externals?|extern|third_?party|"
    r"array_api_(compat|extra)|cobyqa|examples?|benchmarks?|_?generated|.*_pb2(_grpc)?\.py"
)
logger = logging.getLogger(__name__)


class Package(NamedTuple):
    """An installed distribution: its name, where it is imported from, and the digests of the files that are read."""

    name: str
    root: Path
    files: dict[str, str]


@cache
def installed(versions: str) -> dict[str, list[Package]]:
    """Return split → its packages, in the order of the table.

    Args:
        versions: ``pinned`` refuses another version than that of the table; ``any`` takes it, with a warning, and does
            without a package that is missing.

    Raises:
        InputError: a package is missing or has another version, or with ``any``, a split has none.
    """
    found: dict[str, list[Package]] = {}
    problems: list[str] = []
    for split, listed in PACKAGES.items():
        found[split] = []
        for name, _, version in (entry.partition("==") for entry in listed.split()):
            try:
                one = distribution(name)
            except PackageNotFoundError:
                problems.append(f"{name} {version}, found none")
                continue
            if one.version.partition("+")[0] != version:  # torch's builds 2.13.0+cpu and 2.13.0 have the same functions
                problems.append(f"{name} {version}, found {one.version}")
            files = one.files
            if files is None:
                problems.append(f"{name} {version}, found one without the list of its files (RECORD)")
                continue
            found[split].append(Package(name, Path(str(one.locate_file(""))), source_files(files)))
    if problems and (versions == "pinned" or not all(found.values())):
        raise InputError(
            f"collection=packages is made from installed packages in pinned versions. Expected {'; '.join(problems)}. "
            "Install the versions of constraints.txt on Python 3.11 or 3.12 (make install), or set "
            "collection.versions=any to read what is installed, which is another collection with other results."
        )
    if problems:
        logger.warning("packages-any is not the pinned collection, which has %s.", "; ".join(problems))
    return found


def source_files(files: list[PackagePath]) -> dict[str, str]:
    """Return the Python files that are read, as sorted posix paths → their digest as the installer recorded it."""
    read = (file for file in files if file.suffix == ".py" and ".." not in file.parts)
    kept = (file for file in read if not any(map(LEFT_OUT.fullmatch, file.parts)))
    return dict(sorted((str(file), file.hash.value if file.hash else "") for file in kept))


def candidates(versions: str) -> Iterator[Pair]:
    """Yield the pairs of all packages, those of test first, then dev, then train.

    Raises:
        InputError: a file is missing.
    """
    for package in chain.from_iterable(installed(versions).values()):
        for path in package.files:
            try:
                yield from read_functions(package.root, path)
            except FileNotFoundError:
                raise InputError(
                    f"{package.root / path} is a file of the package {package.name}, but is missing. Install it again: "
                    f"pip install --force-reinstall --no-deps --constraint constraints.txt {package.name}"
                ) from None


def extract(versions: str) -> list[Pair]:
    """Return the pairs of all packages without repetitions and near-duplicates."""
    found = without_repetitions(candidates(versions))
    for part in ("query", "source"):
        near = leakage.near_duplicates({pair.doc_id: getattr(pair, part) for pair in found})
        found = [pair for pair in found if pair.doc_id not in near]
    return found


@cache
def digest(versions: str) -> str:
    """A digest that changes with the files of the packages, as their installer recorded them, and with the code."""
    code = (Path(file).read_bytes() for file in (__file__, code_search.__file__, leakage.__file__))
    packages = chain.from_iterable(installed(versions).values())
    lines = (f"{path}\t{value}\n".encode() for package in packages for path, value in package.files.items())
    return sha256(chain(code, lines))[:16]


@cache
def pairs(versions: str) -> tuple[Pair, ...]:
    """Return all pairs, cached in ``ir_datasets``' home, as parsing takes minutes."""
    path = ir_datasets.util.home_path() / "packages" / f"{digest(versions)}.jsonl"
    return cached(path, partial(extract, versions))


@cache
def split_of_module(versions: str) -> dict[str, str]:
    """Return top-level module → split."""
    return {
        path.removesuffix(".py").split("/")[0]: split
        for split, several in installed(versions).items()
        for package in several
        for path in package.files
    }


@cache
def selection(versions: str, split: str | None) -> list[Pair]:
    """Return all pairs, or only those of ``split``."""
    split_of = split_of_module(versions)
    return [pair for pair in pairs(versions) if split in (None, split_of[pair.module])]


def register() -> None:
    """Register the collections and their splits with ``ir_datasets``."""
    for versions in VERSIONS:
        register_pairs(f"packages-{versions}", partial(selection, versions), partial(digest, versions))
