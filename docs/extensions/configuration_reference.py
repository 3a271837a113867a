"""The configuration reference: every group, file and key, with its value, its meaning and what it affects.

Everything is generated: comments and values from the YAML files, meanings from the docstrings of the classes that the
files name, and what a key affects from the references (``${…}``) of the composed pipeline.
"""

import copy
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from colbertv2.artifacts.stage import stage_of
from colbertv2.configuration.composition import CONF, EXPERIMENTS, compose
from colbertv2.schema import hints_of, written

FOLDER = "reference/configuration"
WHOLE = ("pipeline", "round", "analysis", "debug", "logger")  # groups whose files are read as they are, not key by key
MOUNTS = {
    "training": "training.round2",
    "source": "pipeline.round2.candidates",
    "interaction": "training.round2.interaction",
    "validation": "training.round1.search_validation",
    "lora": "training.round2.lora",
}  # where a group is in the configuration, if not at its name
NODES = ("first_stage",)  # groups that are a node themselves, which pipelines read
NEEDED = {"first_stage": "pipeline=two_stage"}  # what reads a group, if not the default pipeline
TRAININGS = {"contrastive": "training.round1", "cross_encoder": "training.teacher"}
GROUPS = {
    "pipeline": "The method, as a graph of stages. `target` names the node to build.",
    "round": "One round of training after the first. A pipeline can use it several times.",
    "collection": "What is searched, and with which queries: [Your data](../../guides/data.md).",
    "suite": "What is evaluated on, if not the collection itself: [Suites](../../guides/suites.md).",
    "model": "The encoder to start from, and how texts become tokens.",
    "head": "The shape of the projection: [Shape of the projection](../../guides/training.md#shape-of-the-projection).",
    "training": "One training: its losses, negatives, steps and batch. A run has three: `training.round1`, "
    "`training.teacher` and `training.round2`. Each file below is described where it is the default.",
    "interaction": "How training scores are computed: `interaction@training.round2.interaction=xtr`; likewise for "
    "`training.round1`. [How training scores are computed](../../guides/training.md#how-training-scores-are-computed).",
    "validation": "Real search over small collections during a training: "
    "`+validation@training.round1.search_validation=dev`; likewise for `training.round2`. Off by default.",
    "lora": "Low-rank updates of an encoder's matrices, trained instead of all weights: "
    "`lora@training.round2.lora=default`; likewise for `training.round1` and `training.teacher`. Off by default.",
    "teacher": "The cross-encoder that scores what was retrieved.",
    "source": "Where the candidates of a round come from: `source@pipeline.round2.candidates=bm25`.",
    "mining": "How many candidates are retrieved and scored for training.",
    "denoising": "Which candidates must not be used as negatives.",
    "reduction": "Fewer vectors per document: [Fewer vectors per document](../../guides/reduction.md).",
    "clustering": "How centroids are found. All codecs share them.",
    "codec": "How a token vector is stored: [Codecs and engines](../../guides/codecs.md).",
    "search": "The engine that searches the index: [Codecs and engines](../../guides/codecs.md).",
    "first_stage": "What proposes candidates in `pipeline=two_stage`: [Two stages](../../guides/codecs.md#two-stages).",
    "bm25": "The lexical baseline, which also supplies the first negatives.",
    "analysis": "Nodes that explain a result. They can be added to any pipeline.",
    "runtime": "Where and how things run. No key here changes a result, so none is part of an address: "
    "[Devices and launchers](../../guides/devices.md).",
    "logger": "Where trainings are logged; several as `logger=[wandb,tensorboard]`. No logger changes a result or an "
    "address.",
    "debug": "Small runs that help to find a mistake: [When something is wrong](../../guides/trouble.md).",
}


@dataclass(frozen=True)
class Key:
    """A key of a file.

    Args:
        name: dotted, as the file nests it.
        value: as it is written.
        comment: beside and above it.
    """

    name: str
    value: str
    comment: str


def header(text: str) -> str:
    """The comment that a file begins with, without the line that is for Hydra."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line[1:])
    return "\n".join(lines)


def paragraphs(comment: str) -> str:
    """A header as Markdown: its indented lines and its commands are code."""
    text: list[str] = []
    code: list[str] = []
    for line in comment.splitlines():
        if line.startswith("   "):
            code.append(line.strip())
        else:
            text.append(line.strip())
    made = escape(" ".join(text))
    return made + ("\n\n```text\n" + "\n".join(code) + "\n```" if code else "")


def escape(text: str) -> str:
    """Plain words inside Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part[:1] == "`" else re.sub(r"([\\*_$<>{}\[\]|])", r"\\\1", part) for part in parts)


def entries(node: yaml.MappingNode, lines: list[str], prefix: str = "") -> Iterator[Key]:
    """The keys of a mapping and of those inside it, in the file's order."""
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if key.value in ("defaults", "hydra"):
            continue
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from entries(value, lines, f"{name}.")
            continue
        end = value.end_mark if value.end_mark.column else value.start_mark
        beside = lines[end.line][end.column :].partition("#")[2].strip()
        written = lines[value.start_mark.line][value.start_mark.column : end.column] if value.value != "" else ""
        yield Key(name, written.strip() or "{}", beside)


def keys(file: Path) -> list[Key]:
    """The keys that a file itself gives."""
    text = file.read_text(encoding="utf-8")
    root = yaml.compose(text)
    return list(entries(root, text.splitlines())) if isinstance(root, yaml.MappingNode) else []


def bases(file: Path) -> list[str]:
    """The files of the same group that a file starts from."""
    defaults = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("defaults", [])
    return [one for one in defaults if isinstance(one, str) and one != "_self_"]


@cache
def arguments(target: str) -> dict[str, str]:
    """Argument → what the docstring of a class or function says of it."""
    found: dict[str, str] = {}
    text = inspect.getdoc(get_object(target)) or ""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    for match in re.finditer(r"^    (\S[^:\n]*): (.*(?:\n     .*)*)", section[1] if section else "", re.MULTILINE):
        for name in match[1].split(", "):
            found[name.strip()] = plain(" ".join(match[2].split()))
    return found


@cache
def takes(target: str, name: str) -> str:
    """The values that a parameter of a class or function takes, in words; empty where they name a class alone."""
    made = get_object(target)
    hints = hints_of(made)
    words = written(hints[name]) if name in hints else ""
    return f"takes {words}" if re.search("number|one of|true|null|path|list|mapping", words) else ""


def plain(text: str) -> str:
    """What reStructuredText marks up, as Markdown has it."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return escape(text.replace("``", "`"))


def at(values: Any, path: str) -> Any:
    """The value at a dotted path of nested dictionaries and lists, None where there is none."""
    for part in path.split("."):
        if isinstance(values, list):
            values = values[int(part)] if part.isdigit() and int(part) < len(values) else None
        else:
            values = values.get(part) if isinstance(values, dict) else None
    return values


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its dotted path."""
    if isinstance(values, (dict, list)):
        for name, one in values.items() if isinstance(values, dict) else enumerate(values):
            yield from leaves(one, f"{path}.{name}" if path else str(name))
    else:
        yield path, values


def references(path: str, value: Any) -> Iterator[str]:
    """The paths that a value reads, the relative ones made absolute."""
    for dots, name in re.findall(r"\$\{(\.*)([\w.]+)\}", value) if isinstance(value, str) else ():
        if dots:
            above = path.split(".")[: -len(dots)]
            yield ".".join([*above, name])
        else:
            yield name


class References:
    """Which nodes of a composed pipeline a key reaches.

    Args:
        values: the configuration as plain data, nothing resolved.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.readers: list[tuple[str, str]] = [
            (path, read) for path, value in leaves(values) for read in references(path, value)
        ]
        stages = [path for path, value in leaves(values) if path.endswith("._target_") and ".stages." in str(value)]
        nodes = [path.removesuffix("._target_") for path in stages]
        self.nodes = [node for node in nodes if node.startswith("pipeline.") or node in NODES]
        self.above: dict[str, list[str]] = {}
        self.needed = self.upstream(f"pipeline.{values['target']}")

    def replaced(self, node: str) -> bool:
        """Whether a parent stands in the place of a node, with the components that are chosen here."""
        arguments = at(self.values, node)
        declared = stage_of(get_object(arguments["_target_"]))
        if declared is None or declared.replaced is None:
            return False
        read = {name: next(references(f"{node}.{name}", value), "") for name, value in arguments.items()}
        targets = {name: at(self.values, f"{place}._target_") for name, place in read.items() if place}
        try:
            found = declared.replaced(**{name: get_object(target) for name, target in targets.items() if target})
        except TypeError:  # it depends on values or parents, which are not read here
            return False
        return found is not None

    def upstream(self, target: str) -> list[str]:
        """The nodes that a target needs, itself too."""
        if target in self.above:
            return self.above[target]
        found, queue = set(), [target]
        while queue:
            place = queue.pop()
            if place in found:
                continue
            found.add(place)
            queue += [read for path, read in self.readers if within(path, place)]
            queue += [node for node in self.nodes if within(node, place) and node != place]
        self.above[target] = [node for node in self.nodes if node in found]
        return self.above[target]

    def affected(self, key: str) -> list[str]:
        """The needed nodes that read a key, directly or through others, in the pipeline's order, without its name."""
        return [node.removeprefix("pipeline.") for node in self.reached(key)]

    def reached(self, key: str) -> list[str]:
        """As ``affected``, with the pipeline's name."""
        reached, queue = {key}, [key]
        while queue:
            one = queue.pop()
            new = {path for path, read in self.readers if within(read, one) or within(one, read)} - reached
            reached |= new
            queue += new
        found = [node for node in self.needed if any(within(leaf, node) for leaf in reached)]
        return [node for node in found if self.reads(node, key) or not self.replaced(node)]

    def reads(self, node: str, key: str) -> bool:
        """Whether a node reads a key itself."""
        return any(within(path, node) and within(key, read) for path, read in self.readers)

    def first(self, key: str) -> list[str]:
        """The affected nodes that no other affected node precedes."""
        found = self.reached(key)
        return [node.removeprefix("pipeline.") for node in found if not {*self.upstream(node)} & ({*found} - {node})]


def within(path: str, place: str) -> bool:
    """Whether a path is at a place or inside it."""
    return path == place or path.startswith(f"{place}.")


@cache
def composed(*overrides: str) -> References:
    """The configuration of these overrides, unresolved."""
    return References(OmegaConf.to_container(compose(overrides), resolve=False))  # pyright: ignore[reportArgumentType]


def mount(group: str, choice: str) -> str:
    """Where the keys of a file stand in the whole configuration."""
    return TRAININGS.get(choice, MOUNTS[group]) if group == "training" else MOUNTS.get(group, group)


def merged(file: Path) -> dict[str, Any]:
    """What a file gives, with what the files of its group that it starts from give."""
    found: dict[str, Any] = {}
    for values in [
        *(merged(file.with_name(f"{base}.yaml")) for base in bases(file)),
        yaml.safe_load(file.read_text("utf-8")),
    ]:
        found = joined(found, {key: value for key, value in (values or {}).items() if key != "defaults"})
    return found


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries in one, the second's values before the first's."""
    inner = [key for key in first.keys() & second if isinstance(first[key], dict) and isinstance(second[key], dict)]
    return {**first, **second, **{key: joined(first[key], second[key]) for key in inner}}


def chosen(group: str, choice: str) -> References:
    """The default configuration with a file in its place: to compose each would take minutes."""
    default = composed(*(NEEDED[group],) if group in NEEDED else ())
    if choice == at_default(group):
        return default
    values = copy.deepcopy(default.values)
    above, _, last = mount(group, choice).rpartition(".")
    (at(values, above) if above else values)[last] = merged(CONF / group / f"{choice}.yaml")
    return References(values)


def moves(found: References, key: str) -> str:
    """A sentence about what a key affects."""
    first, everything = found.first(key), found.affected(key)
    if not first:
        return ""
    shown = ", ".join(f"`{one}`" for one in first[:4]) + (", …" if len(first) > 4 else "")
    rest = len(everything) - len(first)
    return f"Affects {shown}" + (f" and {rest} later step{'s' if rest > 1 else ''}." if rest else ".")


def described(key: Key, place: str, found: References) -> str:
    """One entry of a definition list."""
    above, _, last = f"{place}.{key.name}".rpartition(".") if place else ("", "", key.name)
    target = at(found.values, f"{above}._target_") if above else None
    said = arguments(target).get(last, "") if target and last != "_target_" else ""
    meaning = escape(key.comment) or said  # the file knows its case best
    kind = escape(takes(target, last)) if target and last != "_target_" else ""
    sentences = [sentence(text) for text in (meaning, kind) if text]
    moved = moves(found, f"{place}.{key.name}" if place else key.name)
    body = " ".join([*sentences, f"*{moved}*" if moved else ""]).strip() or "As its name says."
    return f"`{key.name}` = `{key.value}`\n: {body}\n"


def sentence(text: str) -> str:
    """With a capital, unless it begins with a value, and a full stop."""
    begins = text if re.match(r"(null|true|false)\b", text) else text[:1].upper() + text[1:]
    return begins.rstrip(".:") + "."


def group_page(group: str, intro: str) -> str:
    """All files of a group."""
    place = MOUNTS.get(group, group)
    parts = [f"# {group}", "", intro, ""]
    default = at_default(group)
    if default:
        parts += [f"Default: `{default}`.", ""]
    if group not in WHOLE:
        parts += [f"On the command line a key has the group before it: `{place}.<key>=<value>`.", ""]
    for file in sorted((CONF / group).glob("*.yaml"), key=lambda file: (file.stem != default, file.stem)):
        parts += [f"## {file.stem}", "", paragraphs(header(file.read_text(encoding="utf-8"))), ""]
        if group in WHOLE:
            parts += [f"```{{literalinclude}} /../conf/{group}/{file.name}", ":language: yaml", "```", ""]
            continue
        if from_files := bases(file):
            names = ", ".join(f"[{one}](#{one.replace('_', '-')})" for one in from_files)
            parts += [f"Everything as in {names}, but for:", ""]
        found, where = chosen(group, file.stem), mount(group, file.stem)
        targets = [key for key in keys(file) if key.name == "_target_"]
        if targets:
            parts += [f"Component: {{py:obj}}`{targets[0].value}`", ""]
        body = [described(key, where, found) for key in keys(file) if not key.name.endswith("_target_")]
        parts += body or ["It has no keys.", ""]
    return "\n".join(parts)


def at_default(group: str) -> str | None:
    """The file that ``config.yaml`` chooses."""
    for one in yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]:
        if isinstance(one, dict) and group in one:
            return one[group]
    return None


def top_page() -> str:
    """``config.yaml``."""
    found = composed()
    body = [described(key, "", found) for key in keys(CONF / "config.yaml")]
    return "\n".join(
        [
            "# Top level",
            "",
            "Keys of `conf/config.yaml` itself, which belong to no group: `python -m colbertv2 depth=100 seed=7`.",
            "",
            *body,
        ]
    )


def experiment_page(folder: str, title: str, intro: str) -> str:
    """The files of a folder of ``experiments/``: what each asks, its values, and how it is run."""
    parts = [f"# {title}", "", intro, ""]
    for file in sorted((EXPERIMENTS / folder).glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        lines = header(text).splitlines()
        moved = next((line.strip().removeprefix("Moves: ") for line in lines if line.strip().startswith("Moves: ")), "")
        asked = "\n".join(line for line in lines if not line.strip().startswith("Moves: "))
        parts += [f"## {file.stem}", "", paragraphs(asked), ""]
        if moved:
            parts += [f"*Affects: {moved}*", ""]
        axes = at(merged(file), "hydra.sweeper.params") or {}
        parts += [f"`{key}`\n: {escape(str(values))}\n" for key, values in axes.items()]
        parts += [f"```{{literalinclude}} /../experiments/{folder}/{file.name}", ":language: yaml", "```", ""]
    return "\n".join(parts)


EXPERIMENT_PAGES = {
    "ablation": (
        "Ablations",
        "One file per question: `python -m colbertv2 +ablation=bits collection=scifact`. "
        "[Sweeps](../../guides/sweeps.md) and [Statistics](../../guides/statistics.md) explain the report.",
    ),
    "demo": ("Demos", "What `make demo` and the notebooks run."),
    "budget": ("Budgets", "Settings for a small machine, to add to any command: `+budget=two_cores`."),
    "quality": ("Recipes", "Training settings with good measured results: `+quality=recipe`."),
}


def index_page() -> str:
    """The table of contents."""
    entries = ["top", *GROUPS, *EXPERIMENT_PAGES]
    return "\n".join(
        [
            "# Configuration",
            "",
            "Every key with its value, its meaning and what it affects, generated from the files.",
            "",
            "A *group* is a folder of `conf/`; a *choice* is a file in it: `codec=product`. A key inside a choice is",
            'set with dots: `codec.nbits=1`. "Affects" names the first nodes of the default pipeline that are built',
            "again when the key changes; everything before them is reused.",
            "",
            "```{toctree}",
            ":maxdepth: 1",
            "",
            *entries,
            "```",
            "",
        ]
    )


def pages() -> dict[str, str]:
    """Path → text."""
    made = {f"{FOLDER}/index.md": index_page(), f"{FOLDER}/top.md": top_page()}
    made |= {f"{FOLDER}/{group}.md": group_page(group, intro) for group, intro in GROUPS.items()}
    return made | {f"{FOLDER}/{one}.md": experiment_page(one, *words) for one, words in EXPERIMENT_PAGES.items()}
