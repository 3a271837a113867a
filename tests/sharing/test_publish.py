"""A published model: its weights load, its card tells what the artifacts hold, and only --push reaches the hub."""

import base64
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from support import rewrite_record, shrunk, tiny_folder

from colbertv2 import ColBERT, Ranking, build, compose
from colbertv2.artifacts.artifact import Artifact
from colbertv2.checkpoints.layouts import WRITERS
from colbertv2.checkpoints.pylate import prompt_names
from colbertv2.commands import convert
from colbertv2.commands import publish as publish_command
from colbertv2.commands.command_line import main
from colbertv2.evaluation.measurement import per_query
from colbertv2.evaluation.measures import fraction
from colbertv2.sharing import directory
from colbertv2.sharing.provenance import public

TOKEN, READER = "hf_writer", "hf_reader"


PAPER = [  # every layout can hold this tokenization
    f"model.tokenization.{one}"
    for one in ("query_augmentation=true", "query_marker='[unused0]'", "document_marker='[unused1]'")
]


class Hub(ThreadingHTTPServer):
    """A stand-in for the hub: creates repositories, takes files in both ways, and keeps what was committed."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked, self.created, self.uploads, self.commits = [], {}, {}, {}
        self.broken = ""  # a part of the paths that fail


class Answers(BaseHTTPRequestHandler):
    """The endpoints that ``HfApi.create_repo`` and ``upload_folder`` call."""

    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.server.uploads[self.path.rpartition("/")[2]] = self.body()
        self.answer({})

    def do_POST(self):
        hub, body, path = self.server, self.body(), self.path.partition("?")[0]
        hub.asked.append(path)
        if self.headers.get("authorization") not in (f"Bearer {TOKEN}", f"Bearer {READER}"):
            return self.answer({"error": "Invalid credentials"}, 401)
        if self.headers["authorization"] == f"Bearer {READER}":
            return self.answer({"error": "Forbidden"}, 403)
        if hub.broken and hub.broken in path:
            return self.answer({"error": "Out of order"}, 500)
        if path == "/api/repos/create":
            asked = json.loads(body)
            hub.created[f"{asked['organization']}/{asked['name']}"] = asked.get("visibility")
            return self.answer({"url": f"{hub.url}/{asked['organization']}/{asked['name']}"})
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            large = {one["path"]: one["path"].endswith(".safetensors") for one in json.loads(body)["files"]}
            modes = [
                {"path": one, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": None}
                for one, lfs in large.items()
            ]
            return self.answer({"files": modes})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/large/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            files = {}
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.uploads[value["oid"]]
            hub.commits[found[1]] = files
            return self.answer({"commitUrl": f"{hub.url}/{found[1]}/commit/1", "commitOid": "1"})
        return self.answer({"error": f"no such endpoint: {path}"}, 404)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder's model after two steps, evaluated with two codecs, and BM25 beside it."""
    place = tmp_path_factory.mktemp("trained")
    wanted = [*shrunk(tiny_folder(place / "folder"), place / "artifacts"), "pipeline=round1", *PAPER]
    found = [build(compose([*wanted, *more])) for more in ([], ["codec=fp16", "measures=[RR@10,Success@1]"])]
    build(compose([*wanted, "target=bm25_metrics"]))
    return found


@pytest.fixture
def evaluations(trained, tmp_path):
    """The same artifacts, in a root that a test may damage."""
    shutil.copytree(trained[0].path.parents[1], tmp_path / "artifacts")
    return [Artifact.open(tmp_path / "artifacts" / "evaluate" / one.address) for one in trained]


def checkpoint_of(evaluation: Artifact) -> Artifact:
    return evaluation.ancestor("checkpoint")


def publish(artifact: Artifact, out: Path, *more: str) -> None:
    main(["publish", artifact.address, str(out), f"--root={artifact.path.parents[1]}", "--license=mit", *more])


def refused(capsys, artifact: Artifact, out: Path, *more: str) -> str:
    """The message of a command that must end with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        publish(artifact, out, *more)
    assert ended.value.code == 2
    return capsys.readouterr().err


def header(run: Path) -> dict:
    """The metadata of a run, read as ``repro_eval.util.MetadataHandler.read_metadata`` does."""
    lines = run.read_text().splitlines()
    assert lines[0] == "# ir_metadata.start"
    return yaml.safe_load("\n".join(line.strip("#") for line in lines[1 : lines.index("# ir_metadata.end")]))


@pytest.mark.parametrize("layout", WRITERS)
def test_the_weights_are_those_of_the_artifact_in_every_layout(trained, tmp_path, layout):
    checkpoint = checkpoint_of(trained[0])
    publish(checkpoint, tmp_path / "out", f"--to={layout}")
    own, published = ColBERT.load(checkpoint.path), ColBERT.load(tmp_path / "out")
    np.testing.assert_array_equal(own.encode_queries(["sort"])[0], published.encode_queries(["sort"])[0])
    text = (tmp_path / "out" / "README.md").read_text()
    assert 'ColBERT.load("out")' in text
    assert ("models.ColBERT(" in text) == (layout in ("pylate", "official"))
    assert ("MultiVectorEncoder(" in text) == (layout in ("pylate", "official", "sentence_transformers"))


def test_what_a_layout_cannot_hold_is_refused(trained, tmp_path, capsys):
    wanted = shrunk(trained[0].path.parents[2] / "folder", tmp_path / "artifacts")
    plain = build(compose([*wanted, "pipeline=untrained", "target=initial"]))
    said = refused(capsys, plain, tmp_path / "out", "--to=official")
    assert "has: texts without a marker; queries without augmentation" in said
    assert not (tmp_path / "out").exists()


def test_the_card_tells_what_the_artifacts_hold(trained, tmp_path, capsys):
    checkpoint = checkpoint_of(trained[0])
    publish(checkpoint, tmp_path / "out", "--title=My model", "--language=en,de", "--author=A. Person")
    assert "2 evaluations and 2 runs" in capsys.readouterr().out
    text = (tmp_path / "out" / "README.md").read_text()
    for evaluation in trained:
        for measure, mean in per_query(evaluation).mean().dropna().items():
            assert f"{fraction(mean)} [" in text, measure
    assert "\n# My model\n" in text and 'ColBERT.load("out")' in text
    assert "| Success@1 |" in text and "| 2 bits | Exhaustive |" in text and "| fp16 | Exhaustive |" in text
    assert "examples by bm25, examples; seed 42" in text and "| R@1000 |" not in text
    recipe = checkpoint.arguments["recipe"]
    assert f"steps: {recipe['optimization']['steps']}\n" in text and "class: Optimization" in text
    assert f"`{checkpoint.address}`" in text and "folder:…/folder" in text and "document_maxlen | 180" in text
    data = ModelCard(text).data
    assert (data.license, data.language, data.library_name) == ("mit", ["en", "de"], "PyLate")
    described = {one.metric_name: one.metric_value for one in data.eval_results}
    assert (
        described["RR@10 (2 bits, Exhaustive)"] == pytest.approx(per_query(trained[0])["RR@10"].mean(), abs=1e-5)
        and data.base_model is None
    )
    assert [one.metric_type for one in data.eval_results].count("mrr_at_10") == 2
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    stages = [one["stage"] for one in lineage]
    assert (
        stages.count("evaluate") == 2
        and stages.count("train") == 1
        and stages.index("initialise") < stages.index("train")
    )


def test_nothing_published_names_a_directory_of_this_machine(trained, tmp_path):
    publish(checkpoint_of(trained[0]), tmp_path / "out")
    place = str(trained[0].path.parents[2])
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert place.encode() not in file.read_bytes(), file
    assert public("/") == "…/" and public("https://ir-measur.es/a") == "https://ir-measur.es/a"


@pytest.mark.parametrize(
    ("text", "published", "of_queries"),
    [
        ("sample:1000:50:folder:/home/me/client/mine/test", "sample:1000:50:folder:…/test", "…/mine/test"),
        ("sample:1000:50:hf:/home/me/client/mine", "sample:1000:50:hf:…/mine", "hf:…/mine"),
        ("hf:/home/me/client/mine+de", "hf:…/mine+de", "hf:…/mine+de"),
        ("hf:../client/mine", "hf:…/mine", "hf:…/mine"),
        ("./client/mine", "…/mine", "…/mine"),
        ("folder:secrets/mine/test", "folder:…/test", "folder:…/mine/test"),
        ("~/client/~mine", "…/~mine", "…/~mine"),
        ("/home/me/cl\nient/mine", "…/mine", "…/mine"),
        ("file:///home/me/client/mine", "file:…/mine", "file:…/mine"),
        ("hf:mteb/scifact/test", "hf:mteb/scifact/test", "hf:mteb/scifact/test"),
        ("sample:1000:50:beir/scifact/test", "sample:1000:50:beir/scifact/test", "beir/scifact/test"),
    ],
)
def test_of_a_path_only_the_last_part_is_published(text, published, of_queries):
    assert public({"id": text}) == {"id": published}
    assert public({"_target_": "a.Queries", "id": text})["id"].endswith(of_queries)


def test_a_name_that_is_a_directory_here_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "client" / "mine").mkdir(parents=True)
    assert public(["hf:client/mine", "client/mine", "hf:client/other"]) == ["hf:…/mine", "…/mine", "hf:client/other"]
    queries = {"_target_": "a.Queries", "id": "hf:client/mine"}
    assert public(queries)["id"] == "hf:…/mine"  # all of it: there is no split
    assert public({**queries, "id": "hf:client/mine+de/test"})["id"] == "hf:…/mine+de/test"


def test_the_runs_are_the_measured_rankings_with_their_metadata(trained, tmp_path):
    evaluation = trained[0]
    publish(evaluation, tmp_path / "out", "--author=A. Person")
    ranking = evaluation.parents["ranking"]
    (run,) = (tmp_path / "out" / "runs").glob("*.trec")
    meta, original = header(run), Ranking.read(ranking.path / "run.trec")
    read = Ranking.read(run)
    assert dict(read) == dict(original) and read.tied_beyond == original.tied_beyond and len(read) > 5
    assert list(meta)[:3] == ["schema-version", "run-version", "tag"] and meta["tag"] == ranking.address
    assert {"platform", "research goal", "implementation", "method", "actor", "data"} == set(meta) - set(list(meta)[:3])
    assert meta["actor"] == {"role": "experimenter", "name": "A. Person"}
    assert meta["implementation"]["source"]["commit"] == ranking.record["commit"]
    assert meta["method"]["retrieval"][0]["method"] == "colbertv2.search.exhaustive.Exhaustive"
    assert meta["method"]["retrieval"][0]["params"]["depth"] == 20
    assert meta["method"]["indexing"]["codec"]["nbits"] == 2
    assert meta["data"]["test collection"]["name"] == "folder:…/folder/test"
    assert meta["data"]["training data"] == [{"name": "folder:…/folder/train", "documents": "folder:…/folder"}]
    assert meta["research goal"]["evaluation"]["reported measures"] == evaluation.arguments["measures"]


def test_an_untrained_model_is_said_to_be_untrained(trained, tmp_path):
    first = checkpoint_of(trained[0]).parents["checkpoint"]
    publish(first, tmp_path / "out", "--to=colbertv2")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "It was not trained here" in text and "## Results" not in text and "it can't read this layout" in text
    assert not (tmp_path / "out" / "runs").exists()


def test_without_push_nothing_is_asked_of_the_hub(trained, tmp_path, hub):
    publish(trained[0], tmp_path / "out")
    assert hub.asked == []


def test_the_command_pushes_what_it_wrote(trained, tmp_path, hub, capsys):
    publish(trained[0], tmp_path / "out", "--push=me/my-model", "--private")
    assert capsys.readouterr().out.endswith(f"pushed: {hub.url}/me/my-model/commit/1\n")
    assert hub.created == {"me/my-model": "private"}
    written = {
        file.relative_to(tmp_path / "out").as_posix(): file.read_bytes()
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    }
    assert hub.commits == {"me/my-model": written} and len(hub.uploads) >= 2
    assert b'ColBERT.load("me/my-model")' in written["README.md"]


@pytest.mark.parametrize(
    ("token", "broken", "message"),
    [
        ("hf_wrong", "", "not valid (401)"),
        (READER, "", "may not write there (403)"),
        (TOKEN, "repos/create", "answered 500"),
        (TOKEN, "commit", "answered 500"),
    ],
)
def test_a_failed_push_is_said_and_keeps_the_directory(
    trained, tmp_path, hub, monkeypatch, capsys, token, broken, message
):
    monkeypatch.setenv("HF_TOKEN", token)
    hub.broken = broken
    said = refused(capsys, trained[0], tmp_path / "out", "--push=me/my-model")
    assert message in said and f"To try again: hf upload me/my-model {tmp_path / 'out'}" in said
    assert hub.commits == {} and (tmp_path / "out" / "README.md").is_file()


def test_a_hub_that_is_not_there_is_said(trained, tmp_path, hub, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    said = refused(capsys, trained[0], tmp_path / "out", "--push=me/my-model")
    assert "Error: " in said and "Check the network" in said


def test_wrong_words_are_refused_before_any_work(trained, tmp_path, hub, monkeypatch, capsys):
    monkeypatch.setattr(directory, "publication", lambda *_: pytest.fail("it began"))
    out = tmp_path / "out"
    for more, message in [
        (["--push=no-owner"], "expected owner/name"),
        (["--push=a/b/c"], "expected owner/name"),
        (["--push=me/..model"], "expected owner/name"),
        (["--private"], "add --push"),
        (["--license=My licence"], "--license is 'My licence'"),
        (["--language=English"], "--language is 'English'"),
        (["--to=nothing"], "invalid choice"),
    ]:
        assert message in refused(capsys, trained[0], out, *more)
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(capsys, trained[0], out, "--push=me/my-model")
    out.mkdir()
    assert "exists" in refused(capsys, trained[0], out)
    assert hub.asked == []


def test_a_wrong_or_damaged_artifact_is_refused_and_nothing_is_written(evaluations, tmp_path, capsys):
    first, out = evaluations[0], tmp_path / "new" / "out"
    with pytest.raises(SystemExit):
        main(["publish", "train-0000000000", str(out), "--license=mit", f"--root={tmp_path}"])
    assert "There is no artifact train-0000000000" in capsys.readouterr().err
    index = first.parents["ranking"].parents["index"]
    assert "neither a checkpoint" in refused(capsys, index, out)
    run = first.parents["ranking"].path / "run.trec"
    run.write_bytes(run.read_bytes().replace(b"Q0", b"Q1", 1))
    assert f"{run} is not what was written" in refused(capsys, first, out)
    checkpoint = checkpoint_of(evaluations[1])
    weights = checkpoint.path / "projection.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert f"{weights} is not what was written" in refused(capsys, checkpoint, out)
    assert not out.exists() and (not out.parent.exists() or list(out.parent.iterdir()) == [])


def test_a_failure_half_way_leaves_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(trained[0], tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def test_evaluations_whose_artifacts_are_gone_are_left_out_and_named(evaluations, tmp_path, capsys):
    shutil.rmtree(evaluations[1].parents["ranking"].path)
    publish(checkpoint_of(evaluations[0]), tmp_path / "out")
    said = capsys.readouterr().out
    assert f"note: {evaluations[1].address} is left out" in said and "1 evaluations and 1 runs" in said


def published_from(evaluation: Artifact, name: str, inputs: dict, out: Path) -> str:
    """The card of a checkpoint that was made from the backbone ``name``."""
    checkpoint = checkpoint_of(evaluation)
    first = checkpoint.parents["checkpoint"]
    backbone = {**first.arguments["backbone"], "name": name}
    rewrite_record(first, arguments={**first.arguments, "backbone": backbone}, inputs=inputs)
    publish(checkpoint, out)
    return (out / "README.md").read_text()


@pytest.mark.parametrize("inputs", [{"backbone": {"local": False}}, {}], ids=["recorded", "an earlier artifact"])
def test_a_backbone_of_the_hub_is_the_base_model(evaluations, tmp_path, inputs):
    text = published_from(evaluations[0], "google-bert/bert-base-uncased", inputs, tmp_path / "out")
    assert ModelCard(text).data.base_model == "google-bert/bert-base-uncased"
    assert "from `google-bert/bert-base-uncased`" in text


@pytest.mark.parametrize("recorded", [True, False])
def test_a_local_directory_is_not_the_base_model(evaluations, tmp_path, monkeypatch, recorded):
    first = checkpoint_of(evaluations[0]).parents["checkpoint"]
    assert first.record["inputs"]["backbone"] == {"local": True}
    monkeypatch.chdir(tmp_path)
    if not recorded:
        (tmp_path / "client" / "official").mkdir(parents=True)
    inputs = first.record["inputs"] if recorded else {}
    text = published_from(evaluations[0], "client/official", inputs, tmp_path / "out")
    assert ModelCard(text).data.base_model is None and "from `…/official`" in text
    assert "client" not in text + (tmp_path / "out" / "lineage.json").read_text()


def test_an_evaluation_with_other_prompts_or_another_length_says_so(trained, tmp_path):
    wanted = [*shrunk(trained[0].path.parents[2] / "folder", tmp_path / "artifacts"), "pipeline=untrained"]
    plain = build(compose([*wanted, *PAPER]))
    other = ["collection.query_prompt='the query: '", "collection.document_prompt=''", "document_maxlen=64"]
    prompts = ["model.tokenization.query_prompt='a list '", "model.tokenization.document_prompt='a file '"]
    publish(checkpoint_of(plain), tmp_path / "plain")
    text = (tmp_path / "plain" / "README.md").read_text()
    assert "measured with" not in text and "prompt_name" not in text and "is_query=True)\n" in text
    measured = build(compose([*wanted, *PAPER, *prompts, *other]))
    publish(checkpoint_of(measured), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    (note,) = [line for line in text.splitlines() if "measured with" in line]
    assert note.startswith("- folder:…/folder/test, ") and f"(`{measured.parents['ranking'].address}`): " in note
    assert 'query_prompt `"the query: "`, where the published weights have `"a list "`' in note
    assert 'document_prompt none, where the published weights have `"a file "`' in note
    assert "document_maxlen 64, where the published weights have 180." in note
    assert prompt_names(tmp_path / "out") == {"query": "query", "document": "document"}
    assert 'is_query=True, prompt_name="query")' in text and 'is_query=False, prompt_name="document")' in text


def test_only_a_prompt_that_pylate_would_not_use_is_named(tmp_path):
    assert prompt_names(tmp_path) == {}
    for settings, named in [
        ({"prompts": {"query": "q ", "document": ""}}, {"query": "query"}),
        ({"prompts": {"query": "q ", "all": "q "}, "default_prompt_name": "all"}, {}),
    ]:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(settings))
        assert prompt_names(tmp_path) == named


AGAIN = (  # trained on from round 1
    "{_target_:colbertv2.stages.train.run,checkpoint:${pipeline.round1},examples:${pipeline.round1_examples},"
    "validation:${pipeline.round1_dev_examples},documents:${collection.documents},queries:${collection.train},"
    "dev_queries:${collection.dev},recipe:${training.round1},seed:7}"
)


def test_the_card_of_a_mean_names_its_members_and_how_they_were_trained(tmp_path):
    wanted = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "pipeline=averaged", *PAPER]
    other = ["pipeline.average.checkpoint=${pipeline.round1}", "~pipeline.average.others.round1"]
    other += [f"+pipeline.again={AGAIN}", "+pipeline.average.others.again=${pipeline.again}"]
    evaluation = build(compose([*wanted, *other]))
    average = checkpoint_of(evaluation)
    first, again = average.parents["checkpoint"], average.parents["others.again"]
    publish(evaluation, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "It was trained with colbertv2 in 1 round, from" in text
    assert "Its weights are the mean of those of 2 checkpoints, which are named below." in text
    assert f"Mean of weights (`{average.address}`): of `{first.address}`, `{again.address}` (again), with equal" in text
    made = text[text.index("## How it was made") :]
    assert f"Round 1 (`{first.address}`): " in made and "; seed 42; " in made
    assert made.count("Round 1") == 1, "round 1 is on the way to both members"
    assert f"Round 2 of the member `again` (`{again.address}`): " in made and "; seed 7; " in made
    assert len(re.findall(r"\blearning_rate", made)) == 2, "the recipe of each training, and none for the mean"
    run = next((tmp_path / "out" / "runs").iterdir())
    assert len(header(run)["data"]["training data"]) == 2
    shutil.rmtree(again.path)
    publish(average, tmp_path / "without")
    left = (tmp_path / "without" / "README.md").read_text()
    assert f"`{again.address}` (again)" in left and "of the member `again`" not in left


def test_convert_and_publish_offer_the_same_layouts(monkeypatch):
    monkeypatch.setitem(WRITERS, "another", None)
    assert convert.arguments(["checkpoint", "a", "b", "--to", "another"]).layout == "another"
    assert publish_command.arguments(["a", "b", "--license", "mit", "--to", "another"]).layout == "another"
