"""Compose in milliseconds: Hydra takes a quarter of a second, nearly all for files and choices that it saw before."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra.core.override_parser.types import Override

PROJECT = Path(__file__).resolve().parents[1]
READ, COMPOSE = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list
CREATE = config_loader_impl.create_defaults_list


@contextmanager
def without_memory() -> Iterator[None]:
    """Compose as Hydra does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", READ)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", COMPOSE)
        patch.setattr(config_loader_impl, "create_defaults_list", CREATE)
        yield


def lasting(source: str) -> bool:
    """Whether no test writes configuration files there: in the project, or in a package."""
    path = source.removeprefix("file://")
    return path.startswith(("pkg://", "structured://")) or PROJECT in Path(path).resolve().parents


def once(function: Callable) -> Callable:
    """The function, which gives a new copy of what it returned for the same sources and arguments before."""
    known: dict[tuple[str, ...], bytes] = {}

    def remembered(caller: Any, repo: Any, **arguments: Any) -> Any:
        sources = [one.full_path() for one in repo.get_sources()]
        if not all(lasting(source) for source in sources):
            return function(caller, repo, **arguments)
        listed = {name: one for name, one in arguments.items() if isinstance(one, list)}
        words = {name: [getattr(one, "input_line", one) for one in items] for name, items in listed.items()}
        key = (repr(arguments | words), *sources)
        if key not in known:
            known[key] = pickle.dumps(function(caller, repo, **arguments))
        return pickle.loads(known[key])

    return remembered


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Remember what Hydra read from each of the project's files, and what it made of each choice of files."""
    read_once = once(lambda _, repo, **given: READ(repo, **given))
    create_once = once(lambda _, repo, **given: CREATE(repo, **given))
    compose_once = once(lambda loader, repo, **given: COMPOSE(loader, repo=repo, **given))

    def created(repo: Any, overrides_list: list[Override], **arguments: Any) -> DefaultsList:
        """Values, such as those of paths, choose no file, so they are set aside."""
        fixed = [one for one in overrides_list if not one.is_sweep_override()]
        values = [one for one in fixed if isinstance(one.value(), dict) or not repo.group_exists(one.key_or_group)]
        choices = [one for one in fixed if one not in values]
        found = create_once(None, repo, overrides_list=choices, **arguments)
        found.config_overrides = found.overrides.config_overrides = values
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ConfigRepository, "load_config", lambda repo, config_path: read_once(None, repo, config_path=config_path)
        )
        patch.setattr(config_loader_impl, "create_defaults_list", created)
        patch.setattr(
            ConfigLoaderImpl,
            "_compose_config_from_defaults_list",
            lambda self, defaults, repo: compose_once(self, repo, defaults=defaults),
        )
        yield
