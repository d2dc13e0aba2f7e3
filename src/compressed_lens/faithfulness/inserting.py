"""What the analyses that insert words have in common: settings, the edits of an item, labels of all of them at once."""

from __future__ import annotations

from dataclasses import dataclass

from compressed_lens.analyses.base import Direction, Metric, Value
from compressed_lens.analyses.labels import Choice, Normalize
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.explanations import prompting
from compressed_lens.explanations.sources import STYLES, Asking, Explained, Style, ask_explanation, ask_labels, together
from compressed_lens.faithfulness.interventions import Insertion, insertions, word_lists
from compressed_lens.faithfulness.mentions import NEGATED, Mention, Negated, mentioned
from compressed_lens.tasks.base import Item, Task


def rate(name: str, direction: Direction, summary: str, *, primary: bool = False) -> Metric:
    """Return the metric of a yes-or-no value of the same name; failed items are left out."""
    return Metric(name=name, value=name, direction=direction, unit="rate", summary=summary, primary=primary)


@dataclass(frozen=True, kw_only=True)
class Told:
    """The explanation of an edited input, and what it says of the inserted word."""

    edit: Insertion
    explained: Explained
    mention: Mention


@dataclass(frozen=True, kw_only=True)
class Inserting:
    """Settings of an analysis that inserts words.

    Attributes:
        positions: Places tried in each item.
        words_per_position: Words tried at each place.
        seed: Which places and words; the same for every variant and analysis with the same seed.
        fields: Fields to edit; the task's edit field when empty.
        words: Path of a file with the words to insert (see `interventions.word_lists`); the shipped ones when
            empty, and "testbed" for those the embedded model knows.
        words_digest: Digest of those words, filled in, so that other words make other cells; given, it must match.
        style: How the explanation is asked for (see `sources.ask_explanation`). The labels that decide about flips
            are scored after the plain question in every style.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest explanation, in tokens.
        negated: Whether a negated mention "counts" as one (as a search for the word would have it) or is "ignored".
    """

    positions: int = 8
    words_per_position: int = 8
    seed: int = 0
    fields: tuple[str, ...] = ()
    words: str = ""
    words_digest: str = ""
    style: Style = "predict-then-explain"
    normalize: Normalize = "sum"
    max_new_tokens: int = 64
    negated: Negated = "counts"

    def __post_init__(self) -> None:
        for setting in ("positions", "words_per_position", "max_new_tokens"):
            at_least_one(setting, getattr(self, setting))
        one_of("style", self.style, STYLES)
        one_of("normalize", self.normalize, ("sum", "mean"))
        one_of("negated", self.negated, NEGATED)
        found = word_lists(self.words).pinned("words_digest", self.words_digest)
        object.__setattr__(self, "words_digest", found)

    def edits(self, task: Task, item: Item) -> tuple[Insertion, ...]:
        """Return the insertions into `item` under these settings, position by position."""
        return insertions(
            task,
            item,
            words_per_position=self.words_per_position,
            positions=self.positions,
            seed=self.seed,
            fields=self.fields,
            words=self.words,
        )

    def ask_all_labels(self, task: Task, item: Item, edits: tuple[Insertion, ...]) -> Asking[list[Choice]]:
        """Ask, in one step, for the label of `item` and then of every edit."""
        prompts = [prompting.classify(task, one) for one in (item, *(edit.item for edit in edits))]
        return (yield from ask_labels(prompts, task.labels_of(item), normalize=self.normalize))

    def ask_why(self, task: Task, edits: tuple[Insertion, ...]) -> Asking[list[Told]]:
        """Ask for the explanation of every edited input, all at once, and search each for the inserted word."""
        told = yield from together(
            [
                ask_explanation(
                    task, edit.item, style=self.style, normalize=self.normalize, max_new_tokens=self.max_new_tokens
                )
                for edit in edits
            ]
        )
        return [
            Told(edit=edit, explained=one, mention=mentioned(one.text, edit.word))
            for edit, one in zip(edits, told, strict=True)
        ]

    def describe(self, told: Told) -> dict[str, Value]:
        """Return an edit and its explanation as values of a record."""
        return {
            "word": told.edit.word,
            "field": told.edit.field,
            "position": told.edit.position,
            "edited": told.edit.item.fields[told.edit.field],
            "edited_prediction": told.explained.prediction,
            "explanation": told.explained.text,
            "outcome": told.explained.outcome,
            "usable": told.explained.usable,
            "mentioned": told.mention.counts(self.negated),
            "negated_mention": told.mention.negated,
        }
