"""Design files: the presets, a person's own file with every mistake in one sentence, and a design as YAML to edit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from compressed_lens.errors import StudyError
from compressed_lens.human.design import Design, Questionnaire, Sample
from compressed_lens.registry import nearest
from compressed_lens.study.load import explain
from compressed_lens.study.yaml import Document, parse_yaml, read_yaml

PRESETS: Mapping[str, str] = {
    "paper": "2601.00282, section 5: 15 items of each kind, 2 ratings of each text, 15 texts a rater",
    "pilot": "a rehearsal: 2 items of each kind, 2 ratings of each text, 12 a rater, several of an item",
}
"""Name of a preset to what it is; the files of `human/designs`."""

# The default wording of these speaks of the default dimensions.
_SPEAK_OF_DIMENSIONS = ("instructions", "examples", "comprehension")
_WIDTH = 110
_DOCS = "docs/human-study.md"


def default_design(preset: str = "paper") -> Design:
    """Return the design of a preset, with the default wording in English and German.

    Args:
        preset: One of `PRESETS`.

    Raises:
        StudyError: There is no such preset.
    """
    if preset not in PRESETS:
        raise StudyError(
            f"There is no preset '{preset}'.", fix=nearest(preset, PRESETS) or f"One of: {', '.join(PRESETS)}."
        )
    return Design(
        sample=Sample.model_validate(_shipped(preset)), questionnaire=Questionnaire.model_validate(_wording())
    )


def read_design(path: Path) -> Design:
    """Read and check a design file.

    What a file leaves out of `sample` is as in the preset `paper`; what it leaves out of `questionnaire` has the
    default wording. A file with `dimensions` of its own must have `instructions`, `examples` and `comprehension`, too.

    Raises:
        StudyError: One sentence with file, line, key and the nearest valid name.
    """
    document = read_yaml(path.expanduser())
    data = document.data
    if not isinstance(data, dict):
        raise StudyError(
            f"{document.file}: a design is a mapping with the keys sample and questionnaire.",
            fix="`clens human design` prints one to start from.",
        )
    own = data.get("questionnaire", {})
    if isinstance(own, dict):
        lacking = [key for key in _SPEAK_OF_DIMENSIONS if key not in own]
        if "dimensions" in own and lacking:
            line = document.line(("questionnaire", "dimensions"))
            raise StudyError(
                f"{document.file} line {line}: 'dimensions' is set without '{lacking[0]}', whose default wording "
                "speaks of the default dimensions.",
                fix=f"Write {lacking[0]}, too" + ("." if lacking[0] == "instructions" else ", or [] for none."),
            )
        data = {**data, "questionnaire": {**_wording(), **own}}
    try:
        return Design.model_validate(data)
    except ValidationError as error:
        mistake = explain(document, [_placed(one, document) for one in error.errors()], Design)
        raise StudyError(mistake.message, fix=mistake.fix.replace("docs/study.md", _DOCS)) from None


def design_yaml(design: Design) -> str:
    """Return a design as YAML with every default written out and each key of `sample` explained.

    `read_design` reads it back as equal.
    """
    lines = [
        "# A human study: who rates what (sample), and everything that raters read (questionnaire).",
        f"# See {_DOCS}. `clens human create RUN --design FILE` makes the study of it.",
        "",
        "sample:",
    ]
    values = design.sample.model_dump(mode="json")
    for name, field in Sample.model_fields.items():
        said = textwrap.wrap(field.description or "", _WIDTH - 4)
        lines += [f"  # {line}" for line in said]
        lines += [f"  {line}" for line in _dump({name: values[name]}).splitlines()]
    text = _dump({"questionnaire": design.questionnaire.model_dump(mode="json")})
    return "\n".join([*lines, "", text])


def _shipped(name: str) -> Any:
    file = f"{name}.yaml"
    return parse_yaml((files("compressed_lens.human") / "designs" / file).read_text("utf-8"), file).data


def _wording() -> dict[str, Any]:
    return cast(dict[str, Any], _shipped("questionnaire"))


def _placed(error: ErrorDetails, document: Document) -> ErrorDetails:
    """Return an error with the place and the words that a person needs."""
    if error["type"] == "string_pattern_mismatch" and error["loc"][-1] != "completion_url":
        place = tuple(part for part in error["loc"] if part != "[key]")
        name = "name" in place or "ratings" in place
        rule = "a name is lower-case letters, digits, _ and -" if name else "a language is written as en or pt-BR"
        return {**error, "type": "value_error", "loc": place, "msg": f"'{error['input']}': {rule}"}
    # An error of a whole part begins with the place in it (dimensions.0.anchors.3: ...).
    named = re.match(r"Value error, ([a-z_]+(?:\.\w+)*): ", error["msg"])
    if named is None:
        return error
    parts: Sequence[str | int] = [int(part) if part.isdigit() else part for part in named[1].split(".")]
    found = (*error["loc"], *parts)
    while found and found not in document.lines:
        found = found[:-1]
    return {**error, "loc": found}


def _dump(value: Any) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts of several paragraphs as blocks, as a person would."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
