"""The study schema as editors see it, and identities."""

from __future__ import annotations

import subprocess
import sys

from compressed_lens.study.schema import Study, json_schema

STUDY = {"name": "a", "models": ["org/m"], "variants": ["rtn-4bit"], "tasks": ["esnli"], "analyses": ["accuracy"]}


def test_every_key_of_the_json_schema_is_described() -> None:
    schema = json_schema()
    forms = [*schema["$defs"].values(), schema]
    objects = [part for form in forms for part in form.get("anyOf", [form]) if part.get("type") == "object"]
    assert len(objects) == 7
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
