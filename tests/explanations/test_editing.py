"""Edits asked for in four ways, driven by hand: the conversations, the targets, the demonstrations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.explanations.answers import conversation, drive, sure, text

from compressed_lens.explanations.attributed import Ranking
from compressed_lens.explanations.editing import Method, ask_edit, pool_of, target_of
from compressed_lens.explanations.sources import Unusable
from compressed_lens.lm.protocol import Ask, Generate, Request, Response, Score
from compressed_lens.tasks.base import Item, Task

ITEM = Item(id="1", fields={"premise": "A dog runs.", "hypothesis": "An animal moves."}, answers=("entailment",))
LABELS = ("entailment", "neutral", "contradiction")
TASK = Task(
    name="nli",
    kind="classification",
    items=(ITEM,),
    labels=LABELS,
    instruction="Decide.",
    edit_field="hypothesis",
    targets={"entailment": "contradiction", "contradiction": "entailment"},
)


def asked_for(method: Method, said: list[str], **settings: object) -> tuple[object, list[list[Request | Ask]]]:
    """Drive `ask_edit` with scripted texts; labels are scored as entailment, surer the more words there are."""
    texts = iter(said)

    def reply(request: Request | Ask) -> Response:
        inner = request.request if isinstance(request, Ask) else request
        if isinstance(inner, Generate):
            return text(next(texts))
        assert isinstance(inner, Score)
        scored = sure(inner.continuations, "entailment")
        weight = sum(inner.prompt.messages[-1].content.count(word) for word in ("animal", "animal", "moves"))
        return replace(scored, log_probabilities=tuple(v / (1 + weight) for v in scored.log_probabilities))

    parts = ask_edit(TASK, ITEM, prediction="entailment", target="contradiction", method=method, **settings)  # type: ignore[arg-type]
    return drive(parts, reply)


def test_targets() -> None:
    assert target_of(TASK, ITEM, "entailment") == "contradiction"
    assert target_of(TASK, ITEM, "neutral") == "contradiction"  # no entry: the next label
    bare = replace(TASK, targets={})
    assert [target_of(bare, ITEM, label) for label in LABELS] == ["neutral", "contradiction", "entailment"]
    choices = replace(ITEM, choices=("home", "sea"))
    assert target_of(TASK, choices, "sea") == "home"
    assert target_of(replace(TASK, targets={"neutral": "neutral"}), ITEM, "neutral") == "contradiction"
    with pytest.raises(Unusable, match="no other label"):
        target_of(replace(TASK, labels=("entailment",)), ITEM, "entailment")


def test_random_targets() -> None:
    counts: Counter[str] = Counter()
    for number in range(600):
        item = replace(ITEM, id=str(number))
        target = target_of(TASK, item, "neutral", how="random", seed=3)
        assert target == target_of(TASK, item, "neutral", how="random", seed=3)
        counts[target] += 1
    assert set(counts) == {"entailment", "contradiction"}
    assert 240 < counts["entailment"] < 360
    drawn = [
        [target_of(TASK, replace(ITEM, id=str(n)), "neutral", how="random", seed=s) for n in range(40)] for s in (0, 1)
    ]
    assert drawn[0] != drawn[1]


def test_naive() -> None:
    edit, asked = asked_for("fizle-naive", ["<new>A plant moves.</new>"], max_new_tokens=33)
    (request,) = asked[0]
    assert isinstance(request, Generate)
    assert (request.max_new_tokens, request.temperature) == (33, 0.0)
    told = conversation(request)
    assert "The label is entailment. Change as few words of the hypothesis" in told
    assert "so that the label becomes contradiction. Write only the new hypothesis between <new> and </new>" in told
    assert (edit.text, edit.outcome, edit.usable) == ("A plant moves.", "ok", True)  # type: ignore[attr-defined]
    assert (edit.original, edit.field, edit.words) == ("An animal moves.", "hypothesis", "")  # type: ignore[attr-defined]


def test_guided_keeps_the_conversation() -> None:
    edit, asked = asked_for("fizle-guided", [" animal, moves\n", "<new>A plant stands.</new>"], to="full")
    first, second = asked[0][0], asked[1][0]
    assert isinstance(first, Ask) and isinstance(second, Ask) and first.to == second.to == "full"
    assert isinstance(first.request, Generate) and isinstance(second.request, Generate)
    turns = second.request.prompt.messages
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[0] == first.request.prompt.messages[0]
    assert turns[1].content == "animal, moves"
    assert edit.words == "animal, moves"  # type: ignore[attr-defined]
    assert edit.text == "A plant stands."  # type: ignore[attr-defined]


def test_the_other_field() -> None:
    edit, asked = asked_for("fizle-naive", ["<new>Premise: A dog sleeps.</new>"], field="premise")
    assert "Write only the new premise" in conversation(asked[0][0])
    assert (edit.original, edit.text, edit.field) == ("A dog runs.", "A dog sleeps.", "premise")  # type: ignore[attr-defined]
    with pytest.raises(Unusable, match="no field 'topic'"):
        asked_for("fizle-naive", [], field="topic")


def test_zerocf_names_the_words_that_matter() -> None:
    edit, asked = asked_for("zerocf", ["<new>A plant moves.</new>"], ranking=Ranking(method="occlusion", top=2))
    assert [conversation(r).splitlines()[2] for r in asked[0]] == [
        "Hypothesis: An animal moves.",
        "Hypothesis: animal moves.",
        "Hypothesis: An moves.",
        "Hypothesis: An animal .",
    ]
    assert edit.words == "animal, moves"  # type: ignore[attr-defined]
    assert "These words of the hypothesis matter most for it: animal, moves." in conversation(asked[1][0])


def others(count: int) -> Task:
    items = tuple(
        Item(id=str(n), fields={"premise": "A dog runs.", "hypothesis": f"It is number{n} here."}, answers=("neutral",))
        for n in range(count)
    )
    return replace(TASK, items=items)


@pytest.mark.parametrize("own", ["in the pool", "outside"])
def test_fitcf_shows_verified_edits_of_other_items(own: str) -> None:
    task = others(30)
    pool = pool_of(task, size=6, seed=0)
    assert pool == pool_of(task, size=6, seed=0) != pool_of(task, size=6, seed=1)
    item = pool[1] if own == "in the pool" else next(i for i in task.items if i not in pool)
    failing, malformed = pool[0].id, pool[2].id

    def reply(request: Request | Ask) -> Response:
        told = conversation(request)
        if isinstance(request, Score):
            # Edits say "was"; the first item's edit does not convince the model.
            flips = "It was" in told and f"number{failing} " not in told
            return sure(request.continuations, "contradiction" if flips else "entailment")
        number = told.split("It is number")[-1].split(" ")[0]
        edited = f"It was number{number} here."
        return text(edited + "\nand so on" if number == malformed else f"<new>{edited}</new>")

    parts = ask_edit(
        task,
        item,
        prediction="entailment",
        target="contradiction",
        method="fitcf",
        ranking=Ranking(method="occlusion", top=1),
        demonstrations=2,
        pool=6,
    )
    edit, _ = drive(parts, reply)
    turns = edit.prompt.messages
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    expected = [other.id for other in pool if other.id not in {failing, malformed, item.id}][:2]
    assert [turn.content for turn in turns if turn.role == "assistant"] == [
        f"<new>It was number{number} here.</new>" for number in expected
    ]
    assert edit.demonstrations == 2
    assert f"number{item.id} " in turns[-1].content
    assert not any(f"number{item.id} " in turn.content for turn in turns[:-1])


def test_fitcf_without_any_verified_edit_is_zerocf() -> None:
    task = others(4)

    def reply(request: Request | Ask) -> Response:
        return sure(request.continuations, "entailment") if isinstance(request, Score) else text("<new>It was.</new>")

    ranking = Ranking(method="occlusion")
    told = [
        drive(
            ask_edit(
                task, task.items[0], prediction="entailment", target="neutral", method=method, ranking=ranking, pool=4
            ),
            reply,
        )[0]
        for method in ("fitcf", "zerocf")
    ]
    assert told[0] == told[1]
    assert told[0].demonstrations == 0
