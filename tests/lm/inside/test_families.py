"""Every inspection on every family: it runs unchanged, gives numbers, and the same ones whatever else is asked."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from tests.lm.inside.every import EVERY, differences, every, form, numbers

from compressed_lens.lm import inspections
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.made_up import made_up
from compressed_lens.lm.protocol import Inspection

# What says how much was done rather than what was found.
EFFORT = ("projected",)


def without_effort(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_effort(part) for key, part in value.items() if key not in EFFORT}
    return value


def test_no_inspection_is_left_out() -> None:
    named = {name for name, kind in vars(inspections).items() if isinstance(kind, type) and hasattr(kind, "runs")}
    assert named == set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_it_runs_on_every_family_with_finite_numbers_the_same_alone(family: HFModel, name: str) -> None:
    requests = every()[name]
    together = family.inspect(requests)
    for request, answer in zip(requests, together, strict=True):
        values = dict(answer.values)
        assert json.loads(json.dumps(values)) == values
        gaps = sum(not math.isfinite(number) for number in numbers(values))
        # Nothing reads the last state of a mention that is not at the end of its prompt.
        assert gaps == (name == "Consistency")
        alone = family.inspect([request])[0]
        small = family.inspect([request], batch_tokens=48)[0]
        for other in (alone, small):
            found = differences(without_effort(dict(other.values)), without_effort(values))
            assert not list(found), f"{name} of {request.prompt.text}"
    assert len({json.dumps(dict(answer.values)) for answer in together}) > 1


@pytest.mark.parametrize("name", EVERY)
def test_what_is_made_up_has_the_form_of_what_is_found(reference: HFModel, name: str) -> None:
    for request, answer in zip(every()[name], reference.inspect(every()[name]), strict=True):
        made = made_up(request)
        assert isinstance(made, Inspection)
        assert form(made.values) == form(answer.values)
