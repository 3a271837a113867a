import re
import sys
from pathlib import Path

import ir_datasets
import pytest
from hydra.utils import instantiate
from packaging.requirements import Requirement

from colbertv2.configuration.composition import compose
from colbertv2.data.collection import Collection
from colbertv2.data.leakage import leaks, near_duplicates
from colbertv2.data.opening import load
from colbertv2.data.queries import Queries
from colbertv2.data.sources import packages
from colbertv2.data.sources.code_search import SPLITS
from colbertv2.errors import InputError

CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"
WORDS = re.findall(r"\w+", "amber birch cedar delta ember fjord grove heath islet jetty knoll ledge marsh north ocean")


def function(name: str, *words: str, value: str = "") -> str:
    """The source of a function whose query is made of ``words``, and its body of the name and of ``value``."""
    body = value or f"{name}_one({name}_two, {name}_three) + {name}_four"
    return f'def {name}():\n    """Return {" ".join(words)}."""\n    return {body}\n\n'


def add(site: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write a distribution as an installer does."""
    information = site / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{information.name}/METADATA,,\n", f"{information.name}/RECORD,,\n", "../../bin/script.py,,\n"]
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        lines.append(f"{path},sha256={sum(text.encode())},{len(text)}\n")
    (information / "RECORD").write_text("".join(lines))


def forget() -> None:
    for remembered in (packages.installed, packages.digest, packages.pairs, packages.split_of_module):
        remembered.cache_clear()
    packages.selection.cache_clear()
    for versions in packages.VERSIONS:  # the documents in memory
        load(f"packages-{versions}").docs_handler().__dict__.pop("documents", None)
        load(f"packages-{versions}").docs_handler().__dict__.pop("store", None)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A directory with three packages, one for each split, that counts as where packages are installed."""
    site = tmp_path / "site-packages"
    learn = function("learn", *WORDS[:6]) + function("same", *WORDS[6:12]) + function("alike", *WORDS[9:14])
    copy = function("copied", *WORDS[3:9], value="learn_one(learn_two, learn_three) + learn_four + learn + copied")
    add(site, "fake-train", "1.0", {"learning/core.py": learn, "learning/copy.py": copy, "single.py": ""})
    add(site, "fake-dev", "2.0", {"developing/__init__.py": function("develop", *WORDS[1:5], WORDS[9])})
    add(
        site,
        "fake-test",
        "3.0+cpu",
        {
            "testee/core.py": function("check", *reversed(WORDS[6:12])) + function("other", *WORDS[2:12:2]),
            "testee/tests/helpers.py": function("helper", *WORDS[4:10]),
            "testee/test_core.py": function("tested", *WORDS[5:11]),
            "testee/_vendor/inner.py": function("vendored", *WORDS[1:12:3]),
            "testee/messages_pb2.py": function("generated", *WORDS[1:14:3]),
            "testee/notes.txt": "none",
        },
    )
    monkeypatch.syspath_prepend(site)
    table = {"test": "fake-test==3.0", "dev": "fake-dev==2.0", "train": "fake-train==1.0"}
    monkeypatch.setattr(packages, "PACKAGES", table)
    forget()
    yield site
    forget()


def functions_of(split: str, versions: str = "pinned") -> list[str]:
    return [query_id.split(":")[1] for query_id, _ in Queries(f"packages-{versions}/{split}")]


def test_tests_vendored_and_generated_files_are_left_out(site):
    assert functions_of("test") == ["check", "other"]
    assert functions_of("dev") == ["develop"]


def test_a_training_pair_whose_query_or_document_is_almost_that_of_another_is_left_out(site):
    """``same`` has the words of a test query in another order; ``copied`` has almost the document of ``learn``."""
    assert functions_of("train") == ["copied", "alike"]
    documents = [doc_id for doc_id, _ in Collection("packages-pinned")]
    assert documents == [
        "testee.core:check", "testee.core:other", "developing:develop", "learning.copy:copied", "learning.core:alike"
    ]  # fmt: skip


def test_every_query_has_one_relevant_document(site):
    config = compose(["collection=packages"]).collection
    documents = dict(instantiate(config.documents))
    relevant = []
    for part in ("train", "dev", "eval"):
        queries = instantiate(config[part])
        relevant += [doc_id for query_id, _ in queries for doc_id in queries.qrels.relevant(query_id)]
        assert not any(text in documents[query_id.removeprefix("q-")] for query_id, text in queries)
    assert sorted(relevant) == sorted(documents)


def test_the_pairs_are_extracted_once_for_the_same_files(site):
    first = packages.pairs("pinned")
    place = ir_datasets.util.home_path() / "packages" / f"{packages.digest('pinned')}.jsonl"
    assert len(place.read_text().splitlines()) == len(first)
    (site / "developing" / "__init__.py").unlink()
    forget()
    assert packages.pairs("pinned") == first


def test_another_file_in_the_record_makes_another_collection(site):
    before = packages.digest("pinned"), Collection("packages-pinned").identity()
    record = site / "fake_dev-2.0.dist-info" / "RECORD"
    changed = function("develop", *WORDS[1:5], WORDS[10])
    (site / "developing" / "__init__.py").write_text(changed)
    record.write_text(
        re.sub("(__init__.py),.*", rf"\1,sha256={sum(changed.encode())},{len(changed)}", record.read_text())
    )
    forget()
    query = dict(Queries("packages-pinned/dev"))["q-developing:develop"]
    assert WORDS[10] in query and packages.digest("pinned") != before[0]
    assert Collection("packages-pinned").identity() == before[1]  # the documents are the same, a query is not


def test_another_version_is_refused_and_any_reads_it(site, monkeypatch, caplog):
    table = {"test": "fake-test==3.0", "dev": "fake-dev==2.1", "train": "fake-train==1.0 never-installed==7.0"}
    monkeypatch.setattr(packages, "PACKAGES", table)
    with pytest.raises(InputError, match=r"fake-dev 2\.1, found 2\.0; never-installed 7\.0, found none.*versions=any"):
        list(Collection("packages-pinned"))
    assert functions_of("dev", "any") == ["develop"]
    assert "never-installed 7.0, found none" in caplog.text
    assert instantiate(compose(["collection=packages", "collection.versions=any"]).collection.eval).id == (
        "packages-any/test"
    )


def test_any_needs_a_package_in_every_split(site, monkeypatch):
    monkeypatch.setattr(packages, "PACKAGES", {**packages.PACKAGES, "dev": "never-installed==7.0"})
    with pytest.raises(InputError, match="never-installed"):
        len(Queries("packages-any/train"))


def test_a_package_without_a_list_of_files_or_a_file_is_named(site):
    record = site / "fake_train-1.0.dist-info" / "RECORD"
    record.write_text(f"{record.read_text()}learning/gone.py,sha256=1,1\n")
    forget()
    with pytest.raises(InputError, match=r"gone\.py is a file of the package fake-train.*Install it again"):
        list(Collection("packages-pinned"))
    record.unlink()
    forget()
    with pytest.raises(InputError, match=r"fake-train 1\.0, found one without the list of its files"):
        list(Collection("packages-pinned"))


def test_the_versions_are_those_of_the_constraints():
    pins: dict[str, str] = {}
    for line in CONSTRAINTS.read_text().splitlines():
        if "==" in line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": "3.11", "python_full_version": "3.11.9"}):
                pins[re.sub("[-_.]+", "-", pin.name).lower()] = str(pin.specifier)
    for entry in " ".join(packages.PACKAGES.values()).split():
        name, _, version = entry.partition("==")
        assert pins[re.sub("[-_.]+", "-", name).lower()] == f"=={version}"


def test_no_module_is_in_two_splits():
    forget()
    modules = [
        {path.split("/")[0] for package in several for path in package.files}
        for several in packages.installed("any").values()
    ]
    assert all(modules) and sum(map(len, modules)) == len(set.union(*modules))


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the pins are those for Python 3.11 and 3.12")
def test_the_pinned_collection_is_large_and_no_test_query_leaks():
    forget()
    queries = {split: dict(Queries(f"packages-pinned/{split}")) for split in SPLITS}
    assert {split: len(several) for split, several in queries.items()} == {"train": 42153, "dev": 2100, "test": 4231}
    assert leaks(queries["train"].items(), [*queries["test"].items(), *queries["dev"].items()]) == []
    assert leaks(queries["dev"].items(), queries["test"].items()) == []
    assert near_duplicates(dict(Collection("packages-pinned"))) == {}
