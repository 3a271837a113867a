"""The help of the verb ``run``: how to override the configuration, and its groups with all their choices.

Hydra's own help composes the whole configuration first, which takes four times as long; ``--cfg job`` prints that.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from colbertv2.files import configuration_directory

USAGE = """\
usage: colbertv2 [run] [GROUP=CHOICE] [KEY=VALUE] [+EXPERIMENT=CHOICE] [-m] [--config-dir DIRECTORY]

  target=index          the node of the pipeline to build, after everything that it needs; metrics if not given
  codec=fp16            choose a file of a group
  codec.nbits=1         override a key; +key=value adds one, ~key removes one
  +demo=stdlib          add a file of experiments/, or of the group debug
  -m codec.nbits=1,2,4  a sweep over values, or over choices of a group
  --config-dir my/conf  find more groups and choices in a directory of your own
  --cfg job             print the composed configuration, and build nothing
  --hydra-help          all flags
"""


def help_text(words: Sequence[str]) -> str:
    """The help, with the groups of the directory that ``words`` give after ``--config-dir``, if any.

    >>> print(help_text([]).split("Groups")[1].splitlines()[1].split(":")[0].strip())
    analysis
    """
    config, experiments = configuration_directory("conf"), configuration_directory("experiments")
    named = [after for word, after in pairwise(words) if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    sections = {"Groups": config, "Experiments, added with +": experiments}
    sections |= {f"Your own, in {directory}": Path(directory) for directory in named}
    lines = [USAGE]
    for title, directory in sections.items():
        lines += [f"{title}:", *(f"  {group}: {', '.join(choices)}" for group, choices in groups(directory)), ""]
    return "\n".join(lines).rstrip()


def groups(directory: Path) -> list[tuple[str, list[str]]]:
    """Each group of a configuration directory (a folder with YAML files), with its choices; all in order of name."""
    found: dict[str, list[str]] = {}
    for file in sorted(directory.glob("*/**/*.yaml")):
        found.setdefault(file.parent.relative_to(directory).as_posix(), []).append(file.stem)
    return sorted(found.items())
