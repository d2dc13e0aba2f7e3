"""Potato projects (potato-annotation): a configuration, one item a page, and each rater's own order as a batch."""

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
    html_of,
    html_parts,
    instructions_html,
    ordered,
    page_id,
    plain_lines,
    point,
    question_of,
    read_json,
    word,
    wording,
)

if TYPE_CHECKING:
    from compressed_lens.human.design import Questionnaire
    from compressed_lens.human.plan import Blinded, Planned

_STATE = "user_state.json"
_ANSWERS = "instance_id_to_label_to_value"
_TIMES = "instance_id_to_behavioral_data"
_PHASES = {
    "consent": "phases/consent.json",
    "instructions": "phases/instructions.html",
    "prestudy": "phases/comprehension.json",
}
"""Pages before the items: Potato's name and the file. Only instructions may be HTML."""


class Potato(Exchange):
    """A folder for `potato start`; raters log in under their names of the assignment."""

    name = "potato"
    steps = "in the folder: potato start config.yaml --host 127.0.0.1; raters register as R01, R02, ..."

    def files(self, blinded: Blinded, *, language: str) -> dict[str, str]:
        """Return the project: config.yaml, data/items.jsonl, and the pages before the first item."""
        import yaml

        dimension_names(blinded.questionnaire)
        items: dict[str, str] = {}
        for rater, planned in ordered(blinded):
            items.setdefault(page_id(rater, planned), _item(blinded, rater, planned, language))
        config = yaml.safe_dump(_config(blinded, language), sort_keys=False, allow_unicode=True, width=110)
        return {
            "config.yaml": config,
            "data/items.jsonl": "".join(f"{line}\n" for line in items.values()),
            **_phase_files(blinded.questionnaire, language),
        }

    def read(self, source: Path, questionnaire: Questionnaire) -> tuple[Gathered, ...]:
        """Read every rater's `user_state.json` below a folder (Potato's `annotation_output`), or one such file."""
        states = sorted(source.rglob(_STATE)) if source.is_dir() else [source]
        if not states:
            raise DataError(f"{source} holds no {_STATE}.", fix="Give Potato's output folder, annotation_output.")
        return tuple(one for state in states for one in _answers(state, questionnaire))


def _config(blinded: Blinded, language: str) -> dict[str, Any]:
    questionnaire = blinded.questionnaire
    labels = anchors(questionnaire, language)
    schemes: list[dict[str, Any]] = [
        {
            "annotation_type": "radio",
            "name": dimension.name,
            "description": wording(dimension.title, language),
            "labels": labels[dimension.name],
            "label_requirement": {"required": True},
        }
        for dimension in questionnaire.dimensions
    ]
    if questionnaire.comments:
        asked = {"annotation_type": "text", "name": COMMENT, "description": word("comment", language)}
        schemes.append({**asked, "multiline": True, "rows": 3})
    orders: dict[str, list[str]] = {}
    for rater, planned in ordered(blinded):
        orders.setdefault(rater, []).append(page_id(rater, planned))
    readers: dict[str, int] = {}
    for pages in orders.values():
        for page in pages:
            readers[page] = readers.get(page, 0) + 1
    return {
        "annotation_task_name": wording(questionnaire.title, language),
        "task_dir": ".",
        "output_annotation_dir": "annotation_output",
        "data_files": ["data/items.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "shown"},
        "instance_display": {"fields": [{"key": "shown", "type": "html"}]},
        "annotation_schemes": schemes,
        "require_password": True,
        "authentication": {"method": "in_memory", "user_config_path": "raters.jsonl"},
        "user_config": {"allow_all_users": True, "users": []},
        "assignment_strategy": "batch",
        "num_annotators_per_item": max(readers.values(), default=1),
        "max_annotations_per_user": max(map(len, orders.values()), default=1),
        "batch_assignment": {
            "groups": [
                {"name": rater, "annotators": [rater], "instances": instances} for rater, instances in orders.items()
            ]
        },
        "phases": _phases(questionnaire),
        "jumping_to_id_disabled": True,
        "hide_navbar": True,
    }


def _phases(questionnaire: Questionnaire) -> dict[str, Any]:
    order = ["consent", "instructions", *(["prestudy"] if questionnaire.comprehension else []), "annotation"]
    return {"order": order, **{name: {"type": name, "file": _PHASES[name]} for name in order if name in _PHASES}}


def _phase_files(questionnaire: Questionnaire, language: str) -> dict[str, str]:
    """Return the pages before the items: consent (to go on is to agree), instructions, comprehension check."""
    title = wording(questionnaire.title, language)
    files = {
        "consent": _json(
            [
                {
                    "annotation_type": "pure_display",
                    "name": "about",
                    "description": title,
                    "labels": plain_lines(wording(questionnaire.consent, language)),
                },
                _question("consent", word("consent", language), [word("agree", language)]),
            ]
        ),
        "instructions": instructions_html(questionnaire, language),
    }
    if questionnaire.comprehension:
        asked = [
            _question(
                f"comprehension-{number}",
                wording(question.text, language),
                [wording(option, language) for option in question.options],
            )
            for number, question in enumerate(questionnaire.comprehension, 1)
        ]
        files["prestudy"] = _json(asked)
    return {_PHASES[name]: text for name, text in files.items()}


def _question(name: str, text: str, choices: list[str]) -> dict[str, Any]:
    asked = {"annotation_type": "radio", "name": name, "description": text, "labels": choices}
    return {**asked, "label_requirement": {"required": True}}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _item(blinded: Blinded, rater: str, planned: Planned, language: str) -> str:
    questionnaire = blinded.questionnaire
    if planned.text is None:
        shown = html_of(check_text(questionnaire, planned.expected or {}, language))
    else:
        _, text = blinded.texts[planned.text]
        asked = "\n".join(
            f"<li><strong>{escape(wording(dimension.title, language))}</strong> "
            f"{escape(question_of(dimension, text.kind, language))}</li>"
            for dimension in questionnaire.dimensions
        )
        shown = f"{html_parts(text, language)}\n<h4>{word('questions', language)}</h4>\n<ul>\n{asked}\n</ul>"
    return json.dumps({"id": page_id(rater, planned), "shown": shown}, ensure_ascii=False)


def _answers(state: Path, questionnaire: Questionnaire) -> Iterator[Gathered]:
    """Yield the pages that one rater answered; a state holds [[{"schema": dimension, "name": ...}, answer], ...]."""
    read = read_json(state)
    if not isinstance(read, dict) or not isinstance(read.get(_ANSWERS), dict) or "user_id" not in read:
        raise DataError(f"{state} is no {_STATE} of Potato.", fix="Give Potato's output folder, annotation_output.")
    names = set(dimension_names(questionnaire))
    times = read.get(_TIMES) or {}
    for page, answers in read[_ANSWERS].items():
        place = f"{state}, {page}"
        values: dict[str, int] = {}
        comment = ""
        for schema, said in _pairs(answers, place):
            if schema == COMMENT:
                comment = str(said).strip()
            elif schema in names and values.setdefault(schema, point(said, place)) != point(said, place):
                raise DataError(f"{place}: two ratings of {schema}.", fix="Remove one (potato repair-annotations).")
        took = times.get(page) if isinstance(times, dict) else None
        seconds = duration(took.get("total_time_ms"), place) / 1000 if isinstance(took, dict) else 0.0
        yield Gathered(
            rater=str(read["user_id"]), page=page, values=values, comment=comment, seconds=seconds, place=place
        )


def _pairs(answers: Any, place: str) -> list[tuple[str, Any]]:
    try:
        return [(str(label["schema"]), said) for label, said in answers]
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            f"{place}: answers of another form than Potato 2.12 writes.", fix="Export CSV there, and import that."
        ) from error


POTATO = Potato()
