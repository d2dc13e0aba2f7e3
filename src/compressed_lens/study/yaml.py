"""Safe YAML in which every key and value knows its line, and where `yes`, `no`, `on` and `off` stay words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from compressed_lens.errors import StudyError

Place = tuple[str | int, ...]
_LARGEST = 1 << 20
_DEEPEST = 50
_BOOLEAN = "tag:yaml.org,2002:bool"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed file: the data, and the line of every key and list entry by its place."""

    file: str
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """Return the line of `place`, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the truth values of YAML 1.2, so that a label may be called `no`, and without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # A short chain of aliases can stand for a huge document.
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(path: Path) -> Document:
    """Read one YAML document.

    Raises:
        StudyError: The file is missing, too large, not text, not YAML, or has a key twice or an alias.
    """
    if path.is_dir():
        raise StudyError(f"{path} is a folder, not a study file.")
    try:
        with path.open("rb") as handle:
            raw = handle.read(_LARGEST + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise StudyError(f"There is no file {path}.") from None
    except OSError as error:
        raise StudyError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise StudyError(f"{path} is not a text file in UTF-8.") from None
    if len(raw) > _LARGEST:
        raise StudyError(f"{path} is larger than 1 MB; a study is a page or two.")
    return parse_yaml(text, path.name)


def parse_yaml(text: str, file: str) -> Document:
    """Parse `text`; `file` is the name used in messages."""
    lines: dict[Place, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(file=file, data=None)
        _walk(node, (), lines, file)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}" if mark else ""
        raise StudyError(f"{file}{where}: not valid YAML: {error.problem or error.context}.") from error
    except RecursionError:
        raise StudyError(f"{file}: nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StudyError(f"{file}: not valid YAML: {str(error).splitlines()[0]}.") from error
    return Document(file=file, data=data, lines=lines)


def _walk(node: yaml.Node, place: Place, lines: dict[Place, int], file: str) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(place, line)
    if len(place) > _DEEPEST:
        raise StudyError(f"{file} line {line}: nested too deeply.")
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*place, index)] = child.start_mark.line + 1
            _walk(child, (*place, index), lines, file)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, child in node.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                raise StudyError(f"{file} line {at}: a key must be a word.")
            if key.value in first:
                raise StudyError(f"{file} line {at}: key '{key.value}' stands here and in line {first[key.value]}.")
            first[key.value] = at
            lines[(*place, key.value)] = at
            _walk(child, (*place, key.value), lines, file)
