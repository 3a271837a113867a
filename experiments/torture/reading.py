"""The worker of the part ``damage``: builds the shrunk pipeline, and reads damaged files in all ways."""

import contextlib
import hashlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from colbertv2.artifacts import integrity
from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import BuildError, build_node
from colbertv2.artifacts.node import Node
from colbertv2.checkpoints.checkpoint import Checkpoint
from colbertv2.configuration.composition import compose, runtime_of, target_node
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json

TRAINING = ("train", "teacher")  # stages that take too long to run for every case
EXPORTED = {  # stage → layouts that its artifacts are converted to
    "initialise": ("official", "pylate", "sentence_transformers"),
    "index": ("official", "fast-plaid"),
}
CONVERTED = "exported"  # the folder of the store for directories without a record
LARGE = "build, as large"
TEXTS = ["open a file", "sort the list by key", "join of strings"]


class Reply(NamedTuple):
    """The reply to a question: a verdict of the campaign, its detail, and a value for the asker."""

    verdict: str
    detail: str
    value: Any = None


def work_off(connection: Connection, work: Path) -> None:
    """Answer questions until the connection is closed."""
    reader = Reader(work)
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            reply = reader.answer(*question)
        connection.send(reply)


class Reader:
    """Reads artifacts of the shrunk pipeline, and knows what every reading gave before anything was damaged."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.store = work / "store"

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Address → node of the pipeline."""
        overrides = read_json(self.work / "overrides.json")["overrides"]
        target = target_node(compose(overrides))
        self.runtime = runtime_of(compose(overrides))
        return {node.address: node for node in target.lineage()}

    def answer(self, how: str, *question: Any) -> Reply:
        """Do what is asked, and return how it ended."""
        if how == "prepare":
            return self.prepare(*question)
        directory, name, chosen = question
        touched: list[str] = []
        try:
            expected, found = self.read(how, directory, chosen, touched)
        except InputError as error:
            named = Path(name).name in str(error) or directory in str(error)
            return Reply("refused" if named else "traceback", str(error)[-300:], touched)
        except BuildError as error:
            return Reply("traceback", str(error.__cause__ and repr(error.__cause__))[:200] + last_line(error), touched)
        except Exception as error:  # this is what the campaign looks for
            return Reply("traceback", repr(error)[:200] + last_line(error), touched)
        if found == expected:
            return Reply("same", "", touched)
        return Reply("unrecorded" if how == CONVERTED else "silent", f"{found} instead of {expected}", touched)

    def read(self, how: str, directory: str, chosen: float, touched: list[str]) -> tuple[Any, Any]:
        """The expected result of a reading, and its result now; the directories it writes are added to ``touched``."""
        path = self.store / directory
        known = read_json(self.work / "expected.json")
        forget()
        if how in ("build", LARGE):
            children = known["children"][directory]
            child = self.nodes[children[int(chosen * len(children))]]
            touched.append(location(Path(), child.address).as_posix())
            shutil.rmtree(self.store / touched[0])
            with all_large() if how == LARGE else contextlib.nullcontext():
                built = build_node(child, self.runtime)
            return known["builds"][child.address], stable(built.record["sha256"], known["unstable"])
        with all_large() if chosen < 0.5 else contextlib.nullcontext():
            return known["readings"][directory], digest_of_reading(path, self.work)

    def prepare(self, pipeline: list[str]) -> Reply:
        """Build everything, every consumer twice, and read everything once."""
        sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
        from support import shrunk, tiny_bert, tiny_folder  # pyright: ignore[reportMissingImports]

        shutil.rmtree(self.work / "inputs", ignore_errors=True)
        tiny_folder(self.work / "inputs" / "folder")
        shutil.copytree(tiny_bert(), self.work / "inputs" / "bert")
        overrides = [*pipeline, *shrunk(self.work / "inputs" / "folder", self.store)]
        overrides.append(f"model.backbone.name={self.work / 'inputs' / 'bert'}")
        write_json(self.work / "overrides.json", {"overrides": overrides})
        try:
            build_node(next(reversed(self.nodes.values())), self.runtime)
        except (InputError, BuildError) as error:
            return Reply("traceback", str(error))
        children = self.children()
        builds, unstable = {}, set()
        for address in sorted({one for ones in children.values() for one in ones}):
            path = location(self.store, address)
            first = Artifact.open(path).record["sha256"]
            shutil.rmtree(path)
            second = build_node(self.nodes[address], self.runtime).record["sha256"]
            unstable |= {Path(name).name for name in first if first[name] != second.get(name)}
            builds[address] = second
        self.export()
        readings = {
            place.relative_to(self.store).as_posix(): digest_of_reading(place, self.work)
            for place in sorted(self.store.glob("*/*"))
            if place.is_dir() and not place.name.startswith(".")
        }
        expected = {
            "children": children,
            "builds": {address: stable(digests, unstable) for address, digests in builds.items()},
            "unstable": sorted(unstable),
            "readings": readings,
        }
        write_json(self.work / "expected.json", expected)
        for lock in self.store.glob("*/.*"):
            shutil.rmtree(lock) if lock.is_dir() else lock.unlink()
        shutil.copytree(self.store, self.work / "pristine")
        return Reply("same", "", self.ways(readings, children))

    def children(self) -> dict[str, list[str]]:
        """Directory of an artifact → addresses of the artifacts that are made from it and can be rebuilt quickly."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for role in {*node.parents, "checkpoint", "embeddings"}:
                with contextlib.suppress(InputError):
                    source = node.parents.get(role) or node.ancestor(role)
                    if node.stage.name not in TRAINING:
                        place = location(Path(), source.address).as_posix()
                        found.setdefault(place, []).append(node.address)
        return {place: sorted(set(ones)) for place, ones in sorted(found.items())}

    def export(self) -> None:
        """Write copies without a record, and conversions."""
        from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
        from colbertv2.interchange.conversion import convert_index

        for stage in READERS.keys() - {"evaluate"}:
            for number, path in enumerate(sorted(self.store.glob(f"{stage}/{stage}-*"))):
                copy = self.store / CONVERTED / f"{stage}-{number}"
                shutil.copytree(path, copy, ignore=shutil.ignore_patterns(integrity.RECORD))
                for layout in EXPORTED.get(stage, ()):
                    destination = copy.with_name(f"{copy.name}-{layout}")
                    if stage == "initialise":
                        write_checkpoint(sayable(read_checkpoint(path)), destination, layout)
                        continue
                    with contextlib.suppress(InputError):  # other systems have only some of the codecs
                        convert_index(path, destination, layout, None, None)

    def ways(self, readings: dict[str, Any], children: dict[str, list[str]]) -> dict[str, list[str]]:
        """Directory → the ways in which a case can read it."""
        return {
            place: [CONVERTED]
            if place.startswith(f"{CONVERTED}/")
            else ["read", *(("build", LARGE) if place in children else ())]
            for place in readings
        }


def sayable(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with a tokenization that every layout can express."""
    said = {"query_marker": "[unused0]", "document_marker": "[unused1]", "query_augmentation": True, "skiplist": ()}
    return replace(checkpoint, tokenization=replace(checkpoint.tokenization, **said))


def stable(digests: dict[str, str], unstable: Any) -> dict[str, str]:
    """The digests without the files that contain times."""
    return {name: digest for name, digest in digests.items() if Path(name).name not in unstable}


@contextlib.contextmanager
def all_large() -> Iterator[None]:
    """Treat every file as too large to be checked completely when it is opened."""
    before = integrity.AT_OPENING, integrity.EACH_TIME
    integrity.AT_OPENING = integrity.EACH_TIME = 0
    try:
        yield
    finally:
        integrity.AT_OPENING, integrity.EACH_TIME = before


def forget() -> None:
    """Clear the caches of this process, so that every reading reads its files."""
    from colbertv2.modeling.query_vectors import KEPT

    KEPT.clear()


def last_line(error: BaseException) -> str:
    """The file and line of the project where the exception, or its cause, was raised."""
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    own = [frame for frame in frames if "colbertv2" in frame.filename and "torture" not in frame.filename]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def digest_of_reading(place: Path, work: Path) -> str:
    """The SHA-256 of what the library reads from a directory; without a reader, that of all its files."""
    stage = place.name.split("-")[0]
    reader = READERS.get(stage)
    made = hashlib.sha256()
    for value in reader(place) if reader else every_file(place):
        made.update(value.tobytes() if hasattr(value, "tobytes") else repr(value).encode())
    return made.hexdigest()


def every_file(place: Path) -> Iterator[Any]:
    artifact = Artifact.open(place)
    for name in artifact.record["sha256"]:
        yield artifact.file(name).read_bytes()


def read_index(place: Path) -> Iterator[Any]:
    """The results of three engines, the decoded vectors and the ids; another system's index is converted first."""
    import tempfile

    import numpy as np

    from colbertv2.indexing.index import Index, layout_of
    from colbertv2.interchange.conversion import convert_index
    from colbertv2.search.cascade import Cascade
    from colbertv2.search.exhaustive import Exhaustive
    from colbertv2.search.plaid import Plaid
    from colbertv2.search.searcher import Searcher

    with tempfile.TemporaryDirectory() as temporary:
        if layout_of(place) in EXPORTED["index"]:
            convert_index(place, Path(temporary) / "index", "colbertv2", None, None)
            place = Path(temporary) / "index"
        index = Index.open(place)
        random = np.random.default_rng(0)
        drawn = [random.normal(size=(4, index.dim)).astype(np.float32) for _ in range(3)]
        queries = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in drawn]
        engines = [Exhaustive()]
        if index.num_centroids:
            engines += [Plaid(nprobe=2, centroid_score_threshold=0.1, ndocs=64), Cascade(ndocs=20)]
        for engine in engines:
            yield Searcher(index, engine).search(queries, 5)
        yield index.decode(np.arange(index.num_documents)).vectors
        yield index.doc_ids


def read_checkpoint_directory(place: Path) -> Iterator[Any]:
    from colbertv2.modeling.colbert import ColBERT

    model = ColBERT.load(place)
    yield from model.encode_queries(TEXTS, 2048)
    yield from model.encode_documents(TEXTS, 2048)


def read_teacher(place: Path) -> Iterator[Any]:
    from colbertv2.modeling.cross_encoder import CrossEncoder

    yield CrossEncoder.load(place).predict(TEXTS, TEXTS[::-1])


def read_embeddings(place: Path) -> Iterator[Any]:
    from colbertv2.indexing.embeddings import Embeddings

    embeddings = Embeddings.open(place)
    yield embeddings.doc_ids
    yield embeddings.vectors(0, embeddings.num_vectors)
    yield embeddings.sample(min(5, embeddings.num_documents), seed=0).vectors


def read_clusters(place: Path) -> Iterator[Any]:
    from colbertv2.compression.clustering.clustering import Clusters

    clusters = Clusters.load(place)
    assert clusters.centroids is not None
    yield clusters.centroids.vectors
    yield clusters.centroids.nearest(clusters.held_out)


def path_of(place: Path, name: str) -> Path:
    """The path of a file of an artifact, or of a copy without a record."""
    return Artifact.open(place).file(name) if place.parent.name != CONVERTED else place / name


def read_ranking(place: Path) -> Iterator[Any]:
    from colbertv2.evaluation.ranking import Ranking

    yield dict(Ranking.read(path_of(place, "run.trec")))


def read_training_examples(place: Path) -> Iterator[Any]:
    from colbertv2.training.examples import Examples

    examples = Examples(path_of(place, "examples.jsonl"))
    yield list(examples)
    yield [examples[number] for number in range(len(examples))]


def read_evaluation(place: Path) -> Iterator[Any]:
    from colbertv2.evaluation.measurement import per_query, summary

    artifact = Artifact.open(place)
    yield sorted(summary(artifact).items())
    yield per_query(artifact).to_csv()


READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "initialise": read_checkpoint_directory,
    "train": read_checkpoint_directory,
    "teacher": read_teacher,
    "encode": read_embeddings,
    "centroids": read_clusters,
    "index": read_index,
    "search": read_ranking,
    "bm25": read_ranking,
    "examples": read_training_examples,
    "evaluate": read_evaluation,
}
