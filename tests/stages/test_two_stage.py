"""Two stages: candidates of any ranking, re-ranked by exact MaxSim; and what the candidates lose, take and cost."""

import json

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import costs, per_query
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.reporting.system_table import read_system

STAGES = {"bm25": "bm25", "single_vector": "single_vector", "muvera": "fixed_dimensional"}
STAGES |= {"smve": "fixed_dimensional", "external": "external_ranking"}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("two-stage")
    overrides = shrunk(tiny_folder(directory / "folder", documents=40), directory / "artifacts")
    return [*(one for one in overrides if one != "depth=20"), "runtime.device=cpu", "pipeline=two_stage", "depth=40"]


@pytest.fixture(scope="module")
def built(small, tmp_path_factory):
    file = tmp_path_factory.mktemp("run") / "run.trec"
    Ranking({f"q{n}": [(f"d{n}", 2.0), (f"d{(n + 1) % 40}", 1.0)] for n in range(40)}).write(file, tag="other")

    def one(choice: str, target: str, *overrides: str) -> Artifact:
        given = [f"first_stage.file.path={file}"] if choice == "external" else []
        return build(compose([*small, f"first_stage={choice}", *given, f"target={target}", *overrides]))

    return one


def ranking_of(artifact: Artifact) -> Ranking:
    return Ranking.read(artifact.path / "run.trec")


@pytest.mark.parametrize("choice", STAGES)
def test_any_ranking_is_re_ranked_in_the_order_of_exact_search(built, choice):
    metrics = built(choice, "metrics", "reranking.depth=10")
    ranking = metrics.parents["ranking"]
    candidates = ranking.parents["candidates"]
    assert ranking.stage == "rerank" and candidates.stage == STAGES[choice]
    exact, first = ranking_of(built(choice, "exact_ranking")), ranking_of(candidates)
    for query, results in ranking_of(ranking).items():
        own = [document for document, _ in first[query]][:10]
        assert [document for document, _ in results] == [one for one, _ in exact[query] if one in own]


@pytest.mark.parametrize("choice", STAGES)
def test_both_stages_are_paid_for(built, choice):
    metrics = built(choice, "metrics", "reranking.depth=10")
    ranking, index = metrics.parents["ranking"], metrics.parents["ranking"].parents["index"]
    alone = json.loads((index.path / "statistics.json").read_text())["bytes_per_document"]
    found, first = costs(metrics), costs(built(choice, "first_stage_metrics"))
    if choice == "external":  # nothing is known of another system
        assert {"bytes_per_document", "ms_per_query"}.isdisjoint({*found, *first})
        return
    assert found["bytes_per_document"] == pytest.approx(alone + first["bytes_per_document"])
    own = json.loads((ranking.path / "timing.json").read_text())["rerank_ms_per_query"]
    assert found["ms_per_query"] == pytest.approx(own + first["ms_per_query"])
    assert read_system("two stages", metrics).statistics["bytes_per_document"] == found["bytes_per_document"]


def test_muvera_stores_one_vector_per_document_and_finds_more_the_deeper_its_candidates(built):
    candidates = built("muvera", "metrics", "reranking.depth=10").parents["ranking"].parents["candidates"]
    statistics = json.loads((candidates.path / "statistics.json").read_text())
    size = 20 * 2**5 * 16
    assert statistics == {"num_documents": 40, "dimensions": size, "bytes_per_document": 4 * size}
    found = [
        per_query(built("muvera", "agreement", f"reranking.depth={depth}"))["found@10"].mean() for depth in (2, 10, 40)
    ]
    assert found[0] < found[1] <= found[2] == 1.0
    agreed = per_query(built("muvera", "first_stage_agreement"))
    assert agreed["found@10"].mean() == 1.0 and agreed["overlap@10"].mean() < 1.0


def test_smve_stores_no_more_entries_than_vectors_keep_and_finds_more_if_they_keep_more(built):
    few, more = (built("smve", "first_stage_agreement", f"first_stage.encoding.kept={kept}") for kept in (1, 64))
    found = []
    for agreement in (few, more):
        candidates = agreement.parents["ranking"]
        statistics = json.loads((candidates.path / "statistics.json").read_text())
        kept, lengths = candidates.arguments["encoding"]["kept"], Embeddings.open(candidates.parents["embeddings"].path)
        lists = 4 * (16384 + 1) / 40  # where the list of each anchor begins
        assert lists < statistics["bytes_per_document"] <= lists + 8 * kept * lengths.num_vectors / 40
        assert statistics["num_documents"] == 40 and statistics["dimensions"] == 16384
        found.append(per_query(agreement)["overlap@10"].mean())
    assert found[0] < found[1]


@pytest.mark.parametrize(
    ("choice", "override", "expected"),
    [
        ("muvera", "first_stage.encoding.projection_dim=17", "projection_dim is 17, but a vector has 16 dimensions"),
        ("muvera", "first_stage.encoding.hyperplanes=-1", "'hyperplanes' is -1"),
        ("smve", "first_stage.encoding.kept=20000", "kept is 20000, but there are 16384 anchors"),
        ("muvera", "first_stage.queries=${collection.dev}", "other queries"),
        ("muvera", "reranking.depth=41", "at most 40 candidates"),
        ("muvera", f"collection.query_prompt='{'sort the list ' * 60}'", "The collection's query_prompt fills all"),
        ("external", "depth=40", "first_stage.file.path"),
    ],
)
def test_bad_input_is_refused_before_any_work(small, choice, override, expected):
    with pytest.raises(InputError, match=expected):
        plan(compose([*small, f"first_stage={choice}", "target=metrics", override]))


def test_candidates_of_other_documents_are_refused(small, tmp_path):
    other = tiny_folder(tmp_path / "other", documents=41)
    documents = f"{{_target_: colbertv2.data.collection.Collection, id: 'folder:{other}'}}"
    with pytest.raises(InputError, match="other documents"):
        plan(compose([*small, "first_stage=bm25", "target=metrics", f"first_stage.documents={documents}"]))


def test_a_pipeline_with_its_own_search_can_have_two_stages_beside_it(small):
    given = [*small, "first_stage=muvera"]
    alone = build(compose([*given, "target=metrics"])).parents["ranking"]
    words = [*(one for one in given if one != "pipeline=two_stage"), "pipeline=untrained", "analysis=two_stage"]
    beside = build(compose([*words, "target=two_stage_metrics"])).parents["ranking"]
    assert beside.address == alone.address
    shallow = compose([*words, "target=two_stage_agreement", "pipeline.two_stage_ranking.candidate_depth=2"])
    assert 0 < per_query(build(shallow))["found@10"].mean() <= 0.2
