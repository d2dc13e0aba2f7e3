"""Label flip rate under three judges, and how much of its change is due to the edits and how much to the judging.

The model under study (q) and its full-precision sibling (b) each edit the item; q, b and, where one is named, an
independent model each label the original and the edits in fresh conversations. A model that judges its own edits mixes
two changes, which the identity flip(q,q) - flip(b,b) = [flip(q,b) - flip(b,b)] + [flip(q,q) - flip(q,b)] takes apart
(generator first, judge second; after arXiv 2505.13972).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from compressed_lens.analyses.base import Family, Metric, Record, Steps, Value
from compressed_lens.analyses.labels import Normalize
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.edit_settings import EditSettings, edited_item
from compressed_lens.explanations.editing import Edited
from compressed_lens.explanations.sources import Asking, ask_label, ask_labels, together
from compressed_lens.tasks.base import Item, Task, TaskKind

Kind = Literal["soft", "hard", "valid_soft", "valid_hard"]
KINDS: Mapping[Kind, str] = {
    "soft": "get another label",
    "hard": "get the target label",
    "valid_soft": "are valid and get another label",
    "valid_hard": "are valid and get the target label",
}
SELF, FULL, INDEPENDENT = "self", "full", "independent"
_WHO = {SELF: "the model itself", FULL: "full precision", INDEPENDENT: "the independent judge"}


def flips(edit: Edited, *, before: str, after: str | None, valid: bool) -> dict[Kind, bool]:
    """Return whether a judge sees a flip, in each of the four senses.

    Args:
        edit: The edit.
        before: The judge's label of the original.
        after: Its label of the edit; None where there is no text.
        valid: Whether the edit is valid.
    """
    soft = after is not None and after != before
    # A judge that gave the target before the edit has seen no flip, so hard never exceeds soft.
    hard = soft and after == edit.target
    return {"soft": soft, "hard": hard, "valid_soft": soft and valid, "valid_hard": hard and valid}


def effects(own: bool, crossed: bool, full: bool) -> dict[str, int]:
    """Return the decomposition of one item, each -1, 0 or 1; the first is the sum of the others.

    Args:
        own: flip(q,q).
        crossed: flip(q,b).
        full: flip(b,b).
    """
    return {
        "difference": own - full,
        "generation_effect": crossed - full,
        "judging_effect": own - crossed,
    }


def _metrics() -> tuple[Metric, ...]:
    def cell(kind: Kind, generator: str, judge: str) -> Metric:
        family: Family = "faithfulness" if generator == judge else "quality"
        return Metric(
            name=f"{kind}_{generator}_{judge}",
            value=f"{kind}_{generator}_{judge}",
            direction="higher" if generator == SELF else "neither",
            unit="rate",
            summary=f"Share of items where edits of {_WHO[generator]} {KINDS[kind]} by the word of {_WHO[judge]}",
            primary=(kind, generator, judge) == ("valid_hard", SELF, FULL),
            family=family if generator == SELF else "other",
        )

    def effect(kind: Kind, name: str, summary: str) -> Metric:
        return Metric(
            name=f"{kind}_{name}",
            value=f"{kind}_{name}",
            direction="neither",
            unit="difference of rates",
            summary=f"{summary}, flips: {KINDS[kind]}",
            family="other",
        )

    found = []
    for kind in KINDS:
        found += [cell(kind, *place) for place in ((SELF, SELF), (SELF, FULL), (FULL, FULL))]
        found += [cell(kind, generator, INDEPENDENT) for generator in (SELF, FULL)]
        found += [
            effect(kind, "difference", "Flips of own edits under the own judge minus those of full precision"),
            effect(kind, "generation_effect", "The part of the difference that is due to other edits"),
            effect(kind, "judging_effect", "The part of the difference that is due to another judge"),
        ]
    for who in (SELF, FULL):
        found += [
            Metric(
                name=f"{what}_{who}",
                value=f"{what}_{who}",
                direction="higher" if who == SELF else "neither",
                unit="rate",
                summary=f"Share of {what} edits among those of {_WHO[who]}",
                family="quality" if who == SELF else "other",
            )
            for what in ("usable", "valid")
        ]
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class FlipRate(EditSettings):
    """Edits by two models, labelled by two or three.

    Values, for each generator G of `self` and `full`: `prediction_G`, `target_G`, `edited_G`, `outcome_G`, `usable_G`,
    `valid_G`; for each judge J of `self`, `full` and `independent` (None without one): `label_J` of the original and
    `label_G_J` of G's edit. For each kind K of `soft`, `hard`, `valid_soft`, `valid_hard`: the cells `K_self_self`,
    `K_self_full`, `K_full_full`, `K_self_independent`, `K_full_independent`, and `K_difference` = `K_generation_effect`
    + `K_judging_effect`, item by item and so in the means as well.

    Labels are scored, so no judge can answer outside the label set.

    Attributes:
        judge: Name of an independent judge of the study; "" for none. The other settings are those of `EditSettings`.
    """

    name: ClassVar[str] = "flip_rate"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = _metrics()

    judge: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.judge, str) or self.judge in {SELF, FULL}:
            raise StudyError(
                f"The setting judge cannot be {self.judge!r}.",
                fix='Give the name of a judge of the study, or "" (the model itself and full precision judge anyway).',
            )

    @property
    def roles(self) -> tuple[str, ...]:
        """The other models asked."""
        return (FULL, self.judge) if self.judge else (FULL,)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask both models for label and edit, then every judge for the labels of all texts."""
        own, full = yield from together([self._edit(task, item, to=who) for who in (SELF, FULL)])
        edits = {SELF: own, FULL: full}
        texts = {who: edited_item(item, edit) for who, edit in edits.items()}
        judges = {SELF: SELF, FULL: FULL} | ({INDEPENDENT: self.judge} if self.judge else {})
        items = [item, *(text for text in texts.values() if text is not None)]
        found = yield from together(
            [_label_all(task, items, to=role, normalize=self.normalize) for role in judges.values()]
        )
        values: dict[str, Value] = {}
        valid = {who: self.is_valid(edit) for who, edit in edits.items()}
        for who, edit in edits.items():
            values |= {
                f"prediction_{who}": edit.prediction,
                f"target_{who}": edit.target,
                f"edited_{who}": edit.text,
                f"outcome_{who}": edit.outcome,
                f"usable_{who}": edit.usable,
                f"valid_{who}": valid[who],
            }
        cells: dict[tuple[Kind, str, str], bool] = {}
        for judge, labels in zip(judges, found, strict=True):
            before, *rest = labels
            values[f"label_{judge}"] = before
            given = iter(rest)
            for who, edit in edits.items():
                after = next(given) if texts[who] is not None else None
                values[f"label_{who}_{judge}"] = after
                for kind, flip in flips(edit, before=before, after=after, valid=valid[who]).items():
                    cells[kind, who, judge] = flip
        for kind in KINDS:
            for place in ((SELF, SELF), (SELF, FULL), (FULL, FULL), (SELF, INDEPENDENT), (FULL, INDEPENDENT)):
                values[f"{kind}_{place[0]}_{place[1]}"] = cells.get((kind, *place))
            parts = effects(cells[kind, SELF, SELF], cells[kind, SELF, FULL], cells[kind, FULL, FULL])
            values |= {f"{kind}_{name}": value for name, value in parts.items()}
        return Record(values=values)

    def _edit(self, task: Task, item: Item, *, to: str) -> Asking[Edited]:
        choice = yield from ask_label(task, item, to=to, normalize=self.normalize)
        return (yield from self.ask(task, item, choice.prediction, to=to))


def _label_all(task: Task, items: Sequence[Item], *, to: str, normalize: Normalize) -> Asking[list[str]]:
    prompts = [prompting.classify(task, item) for item in items]
    found = yield from ask_labels(prompts, task.labels_of(items[0]), to=to, normalize=normalize)
    return [choice.prediction for choice in found]
