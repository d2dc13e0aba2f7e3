"""TIGERScore: a model lists the errors of an explanation, each with the points it takes off."""

from __future__ import annotations

import string
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Metric, Record, Steps, Value
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.prompts import fill, template
from compressed_lens.explanations.sources import to_model
from compressed_lens.lm.protocol import Generate, Generation, Message, Prompt
from compressed_lens.quality.errors_listed import read_errors
from compressed_lens.quality.texts import UNSCORED, ExplanationScore
from compressed_lens.tasks.base import Item, Task, TaskKind

_GAPS = frozenset({"instruction", "input", "output"})


@dataclass(frozen=True, kw_only=True)
class TigerScore(ExplanationScore):
    """Have a model list the errors of each explanation, without a reference (Jiang et al. 2023, arXiv 2310.00752).

    Values: those of `texts.Written`; `tigerscore`, minus the sum of the listed reductions: at most 0, 0 without errors,
    higher is better, None where the answer was not understood; `errors`, how many it says or lists; `listed`, the list;
    `unparsed`: the answer holds no score; `broken_off`: errors are missing from the list, the stated total
    counts; `total_differs`: the stated total is another than the sum (None where none is stated); `out_of_range`: a
    reduction is outside 0.5 to 5 (it counts as it is); `answer`.

    The settings that are not listed here are those of `texts.ExplanationScore`.

    Attributes:
        scorer: Name of the judge of the study that lists the errors: a causal model or an endpoint.
        ask: "text": the template is plain text to be continued, as TIGERScore's own checkpoints need it. "chat": it is
            a user's turn.
        template: The request, with the gaps {instruction}, {input} and {output}; "" for the shipped one.
        max_new_tokens: Longest list, in tokens.
    """

    name: ClassVar[str] = "tigerscore"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="tigerscore",
            value="tigerscore",
            direction="higher",
            unit="penalty points",
            summary="Mean of minus the points that listed errors take off an explanation; 0 is without error",
            primary=True,
        ),
        Metric(name="errors", value="errors", direction="lower", unit="errors", summary="Mean number of errors listed"),
        Metric(
            name="unparsed",
            value="unparsed",
            direction="lower",
            unit="rate",
            summary="Share of the scorer's answers in which no score was found",
        ),
        Metric(
            name="broken_off",
            value="broken_off",
            direction="lower",
            unit="rate",
            summary="Share of the scorer's answers in which errors or reductions are missing from the list",
        ),
        Metric(
            name="total_differs",
            value="total_differs",
            direction="lower",
            unit="rate",
            summary="Share of the scorer's answers whose stated total is not the sum of the listed reductions",
        ),
        UNSCORED,
    )

    scorer: str = "tigerscore"
    ask: Literal["text", "chat"] = "text"
    template: str = ""
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("ask", self.ask, ("text", "chat"))
        at_least_one("max_new_tokens", self.max_new_tokens)
        if self.template and not _fits(self.template):
            raise StudyError(
                "The setting template does not fit: it has no gap {output}, or a gap of another name.",
                fix="Its gaps are {instruction}, {input} and {output}; write {{ and }} for braces.",
            )

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for an explanation, then for its errors."""
        written = yield from self.ask_text(task, item)
        if written.text is None:
            return Record(values={**dict.fromkeys(m.value for m in self.metrics), **written.values})
        asked = self._prompt(task, item, written.text, written.prediction)
        answers = yield [to_model(self.scorer, Generate(prompt=asked, max_new_tokens=self.max_new_tokens))]
        answer = cast(Generation, answers[0]).text
        found = read_errors(answer)
        reduction = None if found is None else found.reduction
        nothing: dict[str, Value] = dict.fromkeys(m.value for m in self.metrics)
        values: dict[str, Value] = {**nothing, **written.values, "answer": answer, "unparsed": reduction is None}
        if found is not None:
            values |= {
                "tigerscore": None if reduction is None else 0.0 - reduction,
                "errors": len(found.errors) if found.stated_errors is None else found.stated_errors,
                "listed": [asdict(error) for error in found.errors],
                "broken_off": found.broken_off,
                "total_differs": None if found.broken_off else found.total_differs,
                "out_of_range": any(
                    error.reduction is not None and not in_range(error.reduction) for error in found.errors
                ),
            }
        return Record(values=values)

    def _prompt(self, task: Task, item: Item, text: str, prediction: str | None) -> Prompt:
        why = [] if prediction is None else [fill(template("explain"), label=prediction)]
        filled = fill(
            self.template or template("tigerscore"),
            instruction=" ".join([task.instruction, *why]).strip(),
            input=prompting.shown(item),
            output=text,
        )
        if self.ask == "chat":
            return Prompt(messages=(Message(role="user", content=filled),))
        return Prompt(text=filled)


def in_range(reduction: float) -> bool:
    """Return whether a reduction is in the range TIGERScore asks for, 0.5 to 5 points."""
    return 0.5 <= reduction <= 5  # noqa: PLR2004


def _fits(text: str) -> bool:
    try:
        gaps = {gap for _, gap, _, _ in string.Formatter().parse(text) if gap is not None}
    except ValueError:
        return False
    return "output" in gaps and gaps <= _GAPS
