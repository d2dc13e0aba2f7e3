"""Lists of errors in the form TIGERScore's checkpoints write, whole, damaged, and as other judges write them."""

from __future__ import annotations

import pytest

from compressed_lens.quality.errors_listed import ListedError, read_errors

PUBLISHED = """\
The model-generated output contains 2 errors, with a total score reduction of 4.5.
Error location 1:  "The dog is a cat."
Error aspect 1:  Accuracy
Explanation 1:  The premise speaks of a dog.
The correction would be: "The dog is a dog."
Severity 1: Major
Score reduction 1: 4.0
Error location 2:  "so it moves"
Error aspect 2:  Clarity
Explanation 2:  Too short, though its severity: small.
Severity 2: Minor
Score reduction 2: 0.5"""


def test_the_published_form() -> None:
    found = read_errors(PUBLISHED)
    assert found is not None
    assert (found.stated_errors, found.stated_total, found.broken_off) == (2, 4.5, False)
    assert (found.itemized, found.reduction, found.total_differs) == (4.5, 4.5, False)
    first, second = found.errors
    assert first == ListedError(
        location='"The dog is a cat."',
        aspect="Accuracy",
        explanation='The premise speaks of a dog.\nThe correction would be: "The dog is a dog."',
        severity="Major",
        reduction=4.0,
    )
    assert (second.location, second.severity, second.reduction) == ('"so it moves"', "Minor", 0.5)


@pytest.mark.parametrize(
    ("answer", "reduction"),
    [
        ("The model-generated output contains 0 errors, with a total score reduction of 0.", 0.0),
        ("The model-generated output contains 0 errors, with a total score reduction of 0.0.\n", 0.0),
        ("The model-generated output contains no errors.", 0.0),
        ("There are no errors in the output.", 0.0),
        ("No major errors were found.", 0.0),
        ("The output is free of errors", 0.0),
        ("Score reduction 1: 4.5", 4.5),
        ("Score reduction 1: 4.5\nScore reduction 2: 2", 6.5),
        ("- **Score reduction 1:** 3\n- **Score reduction 2:** 0.5", 3.5),
        ("1. Error location: x\n   Severity: Major, Score reduction: 2.5", 2.5),
        ("Error location: x\nReduction of score: -1.5", 1.5),
        ("Error location: x\nReduction of the score: \u22122", 2.0),
        ("error aspect: tone\nREDUCTION: 12", 12.0),
        ("There are no errors of grammar, but one of fact.\nError location 1: x\nScore reduction 1: 3", 3.0),
        ("", None),
        ("The explanation is good.", None),
        ("Error location 1: x\nError aspect 1: y", None),
        ("Score reduction 1: a lot", None),
        ("For each error: reduction of score (between 0.5 and 5, given the severity of the error)", None),
        ("4", None),
    ],
)
def test_what_is_taken_off(answer: str, reduction: float | None) -> None:
    found = read_errors(answer)
    assert (None if found is None else found.reduction) == reduction


def test_a_stated_total_that_is_not_the_sum() -> None:
    found = read_errors(PUBLISHED.replace("reduction of 4.5.", "reduction of 9."))
    assert found is not None
    assert (found.itemized, found.stated_total, found.total_differs, found.broken_off) == (4.5, 9.0, True, False)
    assert found.reduction == 4.5


def test_a_list_that_breaks_off_falls_back_to_the_stated_total() -> None:
    cut = read_errors(PUBLISHED[: PUBLISHED.index("Severity 2")])
    assert cut is not None
    assert (len(cut.errors), cut.itemized, cut.broken_off, cut.reduction) == (2, 4.0, True, 4.5)
    only_total = read_errors(PUBLISHED.splitlines()[0])
    assert only_total is not None
    assert (only_total.errors, only_total.broken_off, only_total.reduction) == ((), True, 4.5)
    without = read_errors("The model-generated output contains 3 errors.\nError location 1: x\nScore reduction 1: 2")
    assert without is not None
    assert (without.broken_off, without.reduction) == (True, None)


def test_nothing_is_cut_to_the_asked_range() -> None:
    found = read_errors("Score reduction 1: 40\nScore reduction 2: 0.1")
    assert found is not None
    assert [error.reduction for error in found.errors] == [40.0, 0.1]
    assert found.reduction == pytest.approx(40.1)
