"""Label Studio projects: a labelling configuration, and one file of tasks a rater, in the rater's order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import DataError
from compressed_lens.human.exchange.base import (
    COMMENT,
    Exchange,
    Gathered,
    anchors,
    check_text,
    dimension_names,
    duration,
    formatted_html,
    instructions_html,
    ordered,
    page_id,
    parts,
    point,
    question_of,
    read_json,
    word,
    wording,
)

if TYPE_CHECKING:
    from compressed_lens.human.design import Questionnaire
    from compressed_lens.human.plan import Blinded, Planned


class LabelStudio(Exchange):
    """A project a rater: the community edition assigns no tasks to people, and shows them in the order of the file."""

    name = "label-studio"
    steps = "one project a rater: labeling.xml, instructions.html, tasks/R01.json, ..."

    def files(self, blinded: Blinded, *, language: str) -> dict[str, str]:
        """Return labeling.xml, instructions.html (with the consent) and tasks/RATER.json."""
        questionnaire = blinded.questionnaire
        dimension_names(questionnaire)
        tasks: dict[str, list[dict[str, Any]]] = {}
        for rater, planned in ordered(blinded):
            tasks.setdefault(rater, []).append({"data": _data(blinded, rater, planned, language)})
        consent = formatted_html(wording(questionnaire.consent, language))
        return {
            "labeling.xml": _labeling(questionnaire, language),
            "instructions.html": f"{consent}\n<hr>\n{instructions_html(questionnaire, language)}",
            **{
                f"tasks/{rater}.json": f"{json.dumps(of, ensure_ascii=False, indent=1)}\n"
                for rater, of in tasks.items()
            },
        }

    def read(self, source: Path, questionnaire: Questionnaire) -> tuple[Gathered, ...]:
        """Read a JSON export (not JSON-MIN), or every `*.json` of a folder of them."""
        files = sorted(source.glob("*.json")) if source.is_dir() else [source]
        if not files:
            raise DataError(f"{source} holds no JSON export.", fix="Put the projects' exports (format JSON) there.")
        return tuple(one for file in files for one in _annotations(file, questionnaire))


def _labeling(questionnaire: Questionnaire, language: str) -> str:
    """Return the labelling configuration: the page as plain text, then a scale with anchors for every dimension."""
    labels = anchors(questionnaire, language)
    lines = ["<View>", '  <Text name="shown" value="$shown" valueType="text" granularity="paragraph"/>']
    for number, dimension in enumerate(questionnaire.dimensions, 1):
        lines += [
            f'  <Header value="{escape(wording(dimension.title, language))}"/>',
            f'  <Text name="asked{number}" value="$ask{number}" valueType="text"/>',
            f'  <Choices name="{dimension.name}" toName="shown" choice="single-radio" required="true">',
            *(
                f'    <Choice value="{escape(label)}" alias="{point}"/>'
                for point, label in enumerate(labels[dimension.name], 1)
            ),
            "  </Choices>",
        ]
    if questionnaire.comments:
        lines += [
            f'  <Header value="{escape(word("comment", language))}"/>',
            f'  <TextArea name="{COMMENT}" toName="shown" rows="3" maxSubmissions="1" editable="true"/>',
        ]
    return "\n".join([*lines, "</View>"]) + "\n"


def _data(blinded: Blinded, rater: str, planned: Planned, language: str) -> dict[str, Any]:
    questionnaire = blinded.questionnaire
    page = {"rater": rater, "position": planned.position, "page": page_id(rater, planned)}
    if planned.text is None:
        shown = check_text(questionnaire, planned.expected or {}, language)
        asked = [shown] * len(questionnaire.dimensions)
    else:
        _, text = blinded.texts[planned.text]
        shown = "\n\n".join(f"{heading.upper()}\n{said}" for heading, said in parts(text, language))
        asked = [
            question_of(dimension, text.kind, language) or wording(dimension.title, language)
            for dimension in questionnaire.dimensions
        ]
    # Names without hyphens: Label Studio reads "$ask-trust" as the variable "ask" and "-trust".
    return {**page, "shown": shown, **{f"ask{number}": said for number, said in enumerate(asked, 1)}}


def _annotations(file: Path, questionnaire: Questionnaire) -> Iterator[Gathered]:
    """Yield every submitted annotation; skipped tasks and drafts are none."""
    tasks = read_json(file)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and _is_annotated(task) for task in tasks):
        raise DataError(f"{file} is no JSON export of Label Studio.", fix="Export in the format JSON, not JSON-MIN.")
    names = set(dimension_names(questionnaire))
    for number, task in enumerate(tasks, 1):
        place = f"{file}, task {number}"
        data = task.get("data") or {}
        if not {"rater", "page"} <= set(data):
            raise DataError(f"{place}: no rater or page.", fix="Import the exported tasks into Label Studio unchanged.")
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                continue
            given = _results(annotation, place)
            yield Gathered(
                rater=str(data["rater"]),
                page=str(data["page"]),
                values={name: point(said, place) for name, said in given.items() if name in names},
                comment=given.get(COMMENT, "").strip(),
                seconds=duration(annotation.get("lead_time"), place),
                place=place,
            )


def _is_annotated(task: dict[str, Any]) -> bool:
    found = task.get("annotations")
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def _results(annotation: dict[str, Any], place: str) -> dict[str, str]:
    """Return control to what was chosen or written in it."""
    try:
        return {
            one["from_name"]: "\n".join(one["value"][{"choices": "choices", "textarea": "text"}[one["type"]]])
            for one in annotation["result"]
        }
    except (TypeError, KeyError) as error:
        raise DataError(
            f"{place}: an annotation of another form than the exported labeling.xml gives.",
            fix="Use that configuration unchanged.",
        ) from error


LABEL_STUDIO = LabelStudio()
