"""Shared fixtures: a separate home for ir_datasets, real test collections, no network, no deadlines."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# ir_datasets resolves its home on import, which test modules do during collection, so it must be set here first.
HOME = Path(tempfile.mkdtemp(prefix="ir_datasets-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["IR_DATASETS_HOME"] = str(HOME)
os.environ["IR_DATASETS_DL_DISABLE_PBAR"] = "true"
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core; torch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import requests  # noqa: E402

hypothesis.settings.register_profile("tests", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("tests")

pytest_plugins = ["compositions", "worlds"]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "ir_datasets"


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Make ``requests.get``, through which ir_datasets downloads, fail at once, as it does offline."""

    def refuse(url, **_):
        raise requests.exceptions.ConnectionError(f"tests use no network ({url})")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "get", refuse)
        yield


@pytest.fixture(scope="session")
def shared_collections() -> Path:
    """Cranfield, Vaswani and SciFact in ir_datasets' home; skips the test if the shared folder is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the test collections of {SHARED}")
    for source in SHARED.rglob("*"):
        target = HOME / source.relative_to(SHARED)
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # without the read-only mode
    return HOME
