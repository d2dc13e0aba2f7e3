"""The study schema as editors see it, and identities."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from compressed_lens.study.schema import Study, json_schema

STUDY = {"name": "a", "models": ["org/m"], "variants": ["rtn-4bit"], "tasks": ["esnli"], "analyses": ["accuracy"]}


def test_every_key_of_the_json_schema_is_described() -> None:
    schema = json_schema()
    forms = [*schema["$defs"].values(), schema]
    objects = [part for form in forms for part in form.get("anyOf", [form]) if part.get("type") == "object"]
    assert len(objects) == 9
    for form in objects:
        assert form["additionalProperties"] is False
        assert all(part.get("description") for part in form["properties"].values()), form["title"]


def test_names_may_be_written_short() -> None:
    for part in ("ModelSpec", "VariantSpec", "TaskSpec", "AnalysisSpec"):
        assert {"type": "string"} in json_schema()["$defs"][part]["anyOf"]


def test_the_digest_follows_the_content() -> None:
    study = Study.model_validate(STUDY)
    assert study.digest == Study.model_validate({**STUDY, "variants": [{"name": "rtn-4bit"}]}).digest
    assert study.digest != Study.model_validate({**STUDY, "seed": 1}).digest


def test_a_checkpoint_of_one_of_two_models_names_it() -> None:
    both = {**STUDY, "models": ["org/m", "org/n"], "variants": [{"name": "c", "checkpoint": "org/q", "model": "n"}]}
    study = Study.model_validate(both)
    assert [[v.name for v in study.variants_of(m)] for m in study.models] == [["full"], ["full", "c"]]


def test_reading_a_study_imports_no_torch() -> None:
    code = (
        "import sys, compressed_lens; from compressed_lens.study.load import from_arguments; "
        "from_arguments(model='org/m', variants=['rtn-4bit'], tasks=['esnli'], analyses=['accuracy']); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_judges_are_folders_or_endpoints_with_names_of_their_own() -> None:
    base = {"name": "s", "models": ["m"], "tasks": ["esnli"], "analyses": ["nle"]}

    def judged(**judge: object) -> Study:
        return Study.model_validate({**base, "judges": [{"name": "j", **judge}]})

    assert judged(path="x").judges[0].dtype == "auto"
    assert judged(url="http://127.0.0.1:1/v1", model="x").judges[0].patience == 600
    for wrong, words in (
        ({}, "needs a path or a url"),
        ({"path": "x", "url": "http://a", "model": "m"}, "needs a path or a url"),
        ({"url": "http://a"}, "go together"),
        ({"path": "x", "name": "full"}, "cannot be called 'full'"),
        ({"url": "ftp://a", "model": "m"}, "pattern"),
    ):
        with pytest.raises(ValidationError, match=words):
            judged(**wrong)
    twice = {**base, "judges": [{"name": "j", "path": "a"}, {"name": "j", "path": "b"}]}
    with pytest.raises(ValidationError, match="stands twice in judges"):
        Study.model_validate(twice)
