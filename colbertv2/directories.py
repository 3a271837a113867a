"""Where the folders ``conf`` and ``experiments`` lie: beside the package in a checkout, inside an installed one."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def in_checkout() -> bool:
    """Whether the package runs from its source tree, as an editable install does; a wheel has copies of the folders."""
    return not (PACKAGE / "conf").is_dir()


def configuration_directory(name: str) -> Path:
    """The folder ``conf`` or ``experiments``.

    >>> (configuration_directory("conf") / "config.yaml").is_file()
    True
    """
    return (PACKAGE.parent if in_checkout() else PACKAGE) / name
