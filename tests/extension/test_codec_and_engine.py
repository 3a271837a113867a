"""Codecs and an engine outside the package, in this module: a class and a YAML file each, and no other line."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pages import site_pages, snippets
from support import rewrite_record, shrunk, tiny_folder

from colbertv2.ablation.sweep import Sweep
from colbertv2.commands import plan, report
from colbertv2.commands.run import build_node, print_points
from colbertv2.compression.codec import Codec, LookupTables, load_codec
from colbertv2.configuration.composition import CONF, build, compose, runtime_of
from colbertv2.configuration.composition import plan as plan_steps
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.search.cascade import Cascade
from colbertv2.search.device_search import DeviceExhaustive
from colbertv2.search.engine import Engine
from colbertv2.search.exhaustive import Exhaustive, search_decoded
from colbertv2.search.plaid import Plaid
from colbertv2.search.scoring import best_documents, score_documents

FILES = {
    "codec/scaled": f"_target_: {__name__}.ScaledBytes\nlargest: 0.999",
    "codec/offset": f"_target_: {__name__}.CentroidAndHalf",
    "search/first_half": f"_target_: {__name__}.FirstHalf\nshare: 0.5",
}


class ScaledBytes(Codec):
    """Signed bytes in a unit that is learned from a sample; no centroids."""

    sample_vectors = 1000

    def __init__(self, largest: float) -> None:
        if not 0 < largest <= 1:
            raise InputError(f"codec.largest is {largest}; expected a share above 0, up to 1.")
        self.largest = largest
        self.unit = 0.0

    @property
    def settings(self):
        return {"largest": self.largest}

    @property
    def label(self):
        return f"bytes up to {self.largest}"

    def bytes_per_vector(self, dim):
        return dim

    def learn(self, clusters, queries=None):
        assert len(clusters.held_out) > 100
        self.unit = float(np.quantile(np.abs(clusters.held_out), self.largest)) / 127

    @property
    def learned(self):
        return {"unit": np.array(self.unit)}

    def restore(self, learned):
        self.unit = float(learned["unit"])

    def encode(self, vectors, codes=None):
        return {"bytes": np.clip(np.rint(vectors / self.unit), -127, 127).astype(np.int8)}

    def decode(self, arrays):
        return arrays["bytes"].astype(np.float32) * np.float32(self.unit)


class CentroidAndHalf(Codec):
    """A centroid, and what is beside it in 16-bit floats; says nothing of tables."""

    has_centroids = True

    @property
    def label(self):
        return "centroid and half"

    def bytes_per_vector(self, dim):
        return 4 + 2 * dim

    def encode(self, vectors, codes=None):
        codes = self.fitted().nearest(vectors) if codes is None else codes
        return {"codes": codes, "rest": (vectors - self.fitted().vectors[codes]).astype(np.float16)}

    def decode(self, arrays):
        return self.fitted().vectors[arrays["codes"]] + arrays["rest"].astype(np.float32)


@dataclass(frozen=True)
class FirstHalf(Engine):
    """MaxSim over the first documents of the corpus alone."""

    share: float

    def search(self, index, queries, k):
        positions = index.full[: int(self.share * len(index.full))]
        return [
            best_documents(positions, score_documents(index, query, positions), k, index.ranks) for query in queries
        ]


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        file = directory / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n")
    return directory


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("parts")
    overrides = shrunk(tiny_folder(directory / "folder", documents=60), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained"]


@pytest.fixture(scope="module")
def composed(own, small):
    return lambda *overrides: compose([*small, *overrides], directories=(CONF, own))


@pytest.mark.parametrize(
    ("codec", "kind", "devices"),
    [("scaled", ScaledBytes, 1), ("offset", CentroidAndHalf, 1), ("offset", CentroidAndHalf, 2)],
)
def test_a_codec_is_built_opened_and_searched(composed, tmp_path, same_results, codec, kind, devices):
    here = [f"runtime.devices={devices}", f"runtime.root={tmp_path}"]
    built = build(composed(f"codec={codec}", "target=ranking", *here))
    index = Index.open(built.parents["index"].path)
    assert type(index.codec) is kind and ("centroids" in built.parents["index"].parents) == kind.has_centroids
    exact = build(composed("codec=fp16", "target=index", *here))
    everything = np.arange(index.num_documents)
    errors = index.decode(everything).vectors - Index.open(exact.path).decode(everything).vectors
    assert 0 < np.abs(errors).max() < 0.1
    queries = [index.decode(np.array([place])).vectors for place in index.full[:3]]
    expected = search_decoded(index, queries, 5)
    for engine in [Exhaustive(), *([Plaid(10_000, -2.0, 600)] if kind.has_centroids else [])]:
        same_results(engine.search(index, queries, 5), expected)


def test_what_a_codec_refuses_is_told_before_any_work(composed):
    with pytest.raises(InputError, match="largest is 7"):
        plan_steps(composed("codec=scaled", "codec.largest=7"))
    with pytest.raises(InputError, match="Plaid probes centroids, but ScaledBytes has none"):
        plan_steps(composed("codec=scaled", "search=plaid"))


def test_every_engine_takes_a_codec_with_centroids_or_says_why_not(composed):
    assert build(composed("codec=offset", "search=plaid", "target=metrics")).stage == "evaluate"
    assert build(composed("codec=offset", "search=vanilla_colbertv2", "target=metrics")).stage == "evaluate"
    with pytest.raises(InputError, match="lookup tables, but CentroidAndHalf has none; use search=plaid"):
        plan_steps(composed("codec=offset", "search=cascade", "target=metrics"))


def test_a_codec_that_is_not_imported_is_named(composed, monkeypatch):
    path = build(composed("codec=scaled", "target=index")).path
    monkeypatch.delitem(Codec.known, f"{__name__}.ScaledBytes")
    with pytest.raises(InputError, match=r"ScaledBytes', which is not known here; if it is your own, import"):
        load_codec(path / "codec")


def test_a_sweep_over_codecs_and_engines_is_planned_run_and_reported(own, small, tmp_path, capsys):
    arguments = ["--config-dir", str(own), "-m", "codec=scaled,offset,residual", "search=exhaustive,first_half", *small]
    plan.main(arguments)
    planned = capsys.readouterr().out
    assert "pipeline.index" in planned and "6 points" in planned
    for point in Sweep.collect(arguments).points:
        build_node(point.node, runtime_of(point.config))
    sweep = Sweep.collect(arguments)
    print_points(sweep.points)
    report.main([*arguments, f"report.out={tmp_path / 'report'}"])
    text = (tmp_path / "report" / "report.md").read_text()
    assert all(f"| {codec}" in text for codec in ("scaled", "offset", "residual")) and "first_half" in text
    rankings = {point.node.address for point in sweep.points}
    assert len(rankings) == 6


def test_an_index_runs_no_code_when_it_is_searched(composed, tmp_path):
    """A search imports the codec of an index for new processes, and must not do so by the index's own record."""
    root = f"runtime.root={tmp_path}"
    index = build(composed("codec=fp16", "target=index", root))
    target = {"_target_": "pathlib.Path", "_args_": [str(tmp_path / "ran")]}
    codec = {"_target_": "pathlib.Path.touch", "self": target}
    rewrite_record(index, arguments={**index.arguments, "codec": codec})
    build(composed("codec=fp16", "target=ranking", "depth=7", root))
    assert not (tmp_path / "ran").exists()


class OwnNames(CentroidAndHalf):
    """Has tables, and keeps its bytes and something called ``gains`` under names of its own."""

    def encode(self, vectors, codes=None):
        codes = self.fitted().nearest(vectors) if codes is None else codes
        rest = vectors - self.fitted().vectors[codes]
        signs = np.packbits(rest > 0, axis=1)
        return {"codes": codes, "bytes": signs, "gains": np.full(len(codes), 200, np.uint8)}

    def decode(self, arrays):
        signs = np.unpackbits(arrays["bytes"], axis=1).astype(np.float32) * 2 - 1
        return self.fitted().vectors[arrays["codes"]] + np.float32(0.05) * signs

    def lookup_tables(self, dim):
        values = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
        return LookupTables(self.fitted().vectors, np.float32(0.05) * values[None], normalise=False, stored="bytes")


def test_compiled_search_reads_the_arrays_that_the_tables_name(world, same_results):
    index, queries = world.index(OwnNames(), name="own-names"), world.queries(4)
    expected = search_decoded(index, queries, 10)
    same_results(Exhaustive().search(index, queries, 10), expected)
    same_results(Cascade(ndocs=None).search(index, queries, 10), expected)
    same_results(DeviceExhaustive(index, "cpu").search(queries, 10), expected)


def test_the_engine_of_the_guide_searches(float16_index, world, same_results):
    (text,) = [one for one in snippets(site_pages()["guides/extend.md"]) if "(Engine)" in one]
    defined = {"__name__": __name__}
    exec(text, defined)  # as a reader would paste it
    queries = world.queries(3)
    found = defined["FirstPart"](share=1.0).search(float16_index, queries, 10)
    same_results(found, search_decoded(float16_index, queries, 10))
