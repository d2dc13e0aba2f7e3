"""What analyses of single facts start from: the parts of an item, and one question put to two models."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal, cast

from compressed_lens.explanations.sources import Unusable
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Request, Response
from compressed_lens.tasks.base import Item

Target = Literal["answer", "predicted"]
TARGETS: tuple[Target, ...] = ("answer", "predicted")


def target_of(target: Target, item: Item) -> str:
    """Return the target of an inspection: the item's object, or "" for what the model predicts."""
    return item.answers[0] if target == "answer" else ""


def subject_of(item: Item) -> str:
    """Return the subject of a fact; "" where the item has none or its prompt does not hold it word for word."""
    subject = item.extra.get("subject")
    return subject if isinstance(subject, str) and subject in item.fields["prompt"] else ""


def other_wordings(item: Item) -> tuple[str, ...]:
    """Return the prompts that ask for the same fact in other words; none where the data have none."""
    return tuple(item.extra.get("paraphrases") or ())


def check_token(token: str) -> None:
    """Check that an object's first token says something of it: not where a tokenizer splits the space off.

    Raises:
        Unusable: It is nothing but white space, which most objects would share.
    """
    if not token.strip():
        raise Unusable("the first token of the object is nothing but a space for this tokenizer, and tells nothing")


def beside_full(
    request: Inspect,
) -> Generator[list[Request | Ask], list[Response], tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Ask full precision and the model under study the same; part of a generator, to be used with `yield from`.

    Returns:
        What full precision answers, and what the model does.

    Raises:
        Unusable: The target's first token tells nothing (see `check_token`).
    """
    full, own = (cast(Inspection, answer).values for answer in (yield [Ask(to="full", request=request), request]))
    if getattr(request.by, "target", ""):
        check_token(own["token"])
    return full, own
