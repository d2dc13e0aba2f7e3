"""Reading edits out of answers: every way an answer can be malformed, and the class it gets."""

from __future__ import annotations

import pytest

from compressed_lens.explanations.extraction import EDIT_OUTCOMES, classify_edit, extract_edit

ORIGINAL = "The film is good and the cast is funny."
BAD = "The film is bad and the cast is funny."


def read(
    answer: str, *, original: str = ORIGINAL, field: str = "text", finished: bool = True
) -> tuple[str | None, str]:
    extracted = extract_edit(answer, original=original, field=field, finished=finished)
    outcome = classify_edit(extracted, answer, original=original)
    assert outcome in EDIT_OUTCOMES
    return extracted.text, outcome


@pytest.mark.parametrize(
    "answer",
    [
        f"<new>{BAD}</new>",
        f"Sure! Here it is:\n<new>\n{BAD}\n</new>\nI changed one word.",
        "<new>The film is bad\nand the cast is funny.</new>",
        f"<NEW>{BAD}</New>",
        f"< new >{BAD}</ new>",
        f'<new>"{BAD}"</new>',
        f"<new>\u201c{BAD}\u201d</new>",
        f"```html\n<new>{BAD}</new>\n```",
        f"<new>```\n{BAD}\n```</new>",
        f"<new>Text: {BAD}</new>",
        f"<new>New text: {BAD}</new>",
        f"&lt;new&gt;{BAD}&lt;/new&gt;",
        f"<new>{BAD}",
        f"<new>{BAD}<new>",
        f"<new>{BAD}<new/>",
        f"<new>{BAD}<\\new>",
        f"<new>{BAD}</",
        f"<new>{BAD}</new",
        f"<new><new>{BAD}</new></new>",
        f"{BAD}</new>",
        f"Here is the new text: {BAD}</new>",
        f"<new>A first try</new> or better <new>{BAD}</new>",
        f"<new>{BAD}</new> <new>",
        f"<new>{BAD}</new> <new>The film",
        f"<new>{BAD}</new> Write it between <new> and </new>.",
        f"I write it between <new> and </new>: <new>{BAD}</new>",
        f"I write it between <new> and </new>: <new>{BAD}",
        f"<new>{BAD}</new></new>",
        f"<new>{BAD}</new> And so on.</new>",
        f"I am sorry for the confusion. <new>{BAD}</new>",
        BAD,
        f'"{BAD}"',
        f"New text: {BAD}",
        f"Here's the edited version: {BAD}",
    ],
)
def test_the_edit_is_found(answer: str) -> None:
    assert read(answer) == (BAD, "ok")


@pytest.mark.parametrize(
    ("answer", "text", "outcome"),
    [
        ("I'm sorry, but I cannot help with that.", None, "refused"),
        ("I\u2019m sorry, I can't do this. <new></new>", "", "refused"),
        ("<new>As an AI, I have no opinion on films.</new>", "As an AI, I have no opinion on films.", "refused"),
        ("The label becomes negative if you change good.", None, "unparsable"),
        ("new", None, "unparsable"),
        ("Write it between <new> and </new>.", None, "unparsable"),
        (f"{BAD}\nI changed one word.", None, "unparsable"),
        ("<b>good</b><br />", None, "unparsable"),
        ("", "", "empty"),
        ("<new></new>", "", "empty"),
        ("<new> ... </new>", "", "empty"),
        ("<new>", "", "empty"),
        ("</new>", "", "empty"),
        ("<new>bad bad bad bad bad bad bad</new>", "bad bad bad bad bad bad bad", "repetitive"),
        (f"<new>{ORIGINAL}</new>", ORIGINAL, "unchanged"),
        ("<new>the film is good and the cast is funny!</new>", "the film is good and the cast is funny!", "unchanged"),
        (f"<new>{ORIGINAL} But I hated it.</new>", f"{ORIGINAL} But I hated it.", "appended"),
        (f"<new>Not true: {ORIGINAL}</new>", f"Not true: {ORIGINAL}", "appended"),
        ("<new>I hated every minute.</new>", "I hated every minute.", "ok"),
    ],
)
def test_what_went_wrong_is_named(answer: str, text: str | None, outcome: str) -> None:
    assert read(answer) == (text, outcome)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("<new>The film is bad and", "truncated"),
        ("<new>The film is bad and the cast </ne", "truncated"),
        ("The film is bad and the cast is", "truncated"),
        ("<new>bad bad bad bad bad bad bad", "truncated"),
        ("<new>", "empty"),
        (f"<new>{BAD}</new> I changed good to", "ok"),
        (f"<new>{ORIGINAL}</new> I changed", "unchanged"),
        ("The way to change this would be to", "unparsable"),
    ],
)
def test_at_the_token_limit(answer: str, outcome: str) -> None:
    assert read(answer, finished=False)[1] == outcome


def test_markup_in_the_text_is_left_alone() -> None:
    original = "Great.<br /><br />The <i>new</i> cast is good."
    edited = "Awful.<br /><br />The <i>new</i> cast is good."
    assert read(f"<new>{edited}</new>", original=original) == (edited, "ok")
    assert read(edited, original=original) == (edited, "ok")


def test_what_the_original_has_is_kept() -> None:
    assert read('<new>"Bad film" they say</new>', original='"Good film" they say')[0] == '"Bad film" they say'
    assert read('<new>"Bad film"</new>', original='"Good film"')[0] == '"Bad film"'
    assert read("<new>Text: bad film</new>", original="Text: good film")[0] == "Text: bad film"
    assert read("<new>One\nthree</new>", original="One\ntwo")[0] == "One\nthree"
    assert read("<new>new film: bad</new>")[0] == "new film: bad"
    sorry = "I'm sorry that I saw this good film."
    assert read("<new>I'm sorry that I saw this bad film.</new>", original=sorry)[1] == "ok"
    assert read("<new>I'm sorry to say this is awful</new>", original=sorry)[1] == "ok"
    loop = "no no no no no no no"
    assert read("<new>no no no no no no yes</new>", original=loop)[1] == "ok"


def test_the_fields_name_is_removed() -> None:
    answer = "<new>Side note: A dog sleeps.</new>"
    assert read(answer, original="A dog runs.", field="side_note") == ("A dog sleeps.", "ok")
    assert read(answer, original="A dog runs.", field="hypothesis")[0] == "Side note: A dog sleeps."
