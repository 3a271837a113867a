"""A pipeline of toy stages (``toy/``) on a corpus file, composed from real YAML in temporary directories."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from colbertv2.configuration.composition import compose

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

DIRECTORIES = (HERE / "toy" / "conf", HERE / "toy" / "experiments")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The artifact root; files in it named ``fail-<stage>`` or ``slow-<stage>`` control the toy stages."""
    (tmp_path / "artifacts").mkdir()
    return tmp_path / "artifacts"


@pytest.fixture
def toy(root: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose the toy configuration with overrides."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one two\nthree\n")

    def composed(*overrides: str) -> DictConfig:
        places = [f"runtime.root={root}", f"corpus.path={corpus}"]
        return compose([*places, *overrides], directories=DIRECTORIES)

    return composed


@pytest.fixture
def runs(root: Path) -> Callable[[], list[str]]:
    """The stages that ran so far, in order."""
    log = root / "runs.log"
    return lambda: log.read_text().split() if log.exists() else []
