"""LLM as a judge: other models rate what the model under study wrote, from 1 to 5, blind to who wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from compressed_lens.analyses.base import Metric, Record, Steps, Value
from compressed_lens.analyses.labels import Normalize
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.editing import METHODS, Method, ask_edit, target_of
from compressed_lens.explanations.parsing import words
from compressed_lens.explanations.sources import STYLES, Asking, Style, ask_explanation, ask_label, to_model
from compressed_lens.judging.ratings import RATINGS, expected_rating, parse_rating
from compressed_lens.lm.protocol import Generate, Generation, Response, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind

Of = Literal["explanation", "counterfactual"]
Mode = Literal["expected", "parsed"]
DIMENSIONS = ("trustworthiness", "coherence")

_LONGEST: Mapping[Of, int] = {"explanation": 64, "counterfactual": 128}
_KIND: Mapping[Of, str] = {"explanation": "explanation", "counterfactual": "edited text"}


@dataclass(frozen=True, kw_only=True)
class _Text:
    """What the judges are shown, and how it came about."""

    label: str
    text: str
    values: dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Rating:
    """Have a text of the model rated by judges, one dimension a call.

    A judge reads the task's instruction, the item, a label, the text and the definition of the dimension; nothing
    tells which model or variant wrote it. Equal texts are put to a judge once, whoever wrote them.

    Values: `text`, `outcome` (its class, see `nle` and `counterfactual`), `prediction`, `target` (of an edit), `rated`
    (there are words to rate); for every dimension and judge `"dimension:judge"`, from 1 to 5, None where no rating
    could be read; `"dimension"`, the mean over the judges, None unless all gave one; `"spread:dimension"`, highest
    minus lowest judge, from two judges on; `unparsed` and `"unparsed:judge"`, the share of ratings that could not be
    read; with mode "expected" `"mass:judge"` and `probabilities`, with "parsed" the `answers`.

    Attributes:
        judges: Who rates: names of judges of the study; "full" is the full-precision model, "self" the one under study.
        dimensions: What is rated; each is the name of a prompt template with its definition.
        of: "explanation", or "counterfactual": an edited text, rated for the label it was to reach.
        mode: "expected": the mean of the ratings 1 to 5 under the judge's probabilities, from one pass. "parsed": the
            number in a written answer; for reasoning judges and for endpoints without log-probabilities.
        least_mass: With "expected", a judge that gives the five ratings less than this share of its probability was
            about to write something else, and its rating counts as unparsed.
        judge_tokens: Longest answer of a judge (parsed), in tokens; a reasoning judge needs thousands.
        style: How the explanation is asked for (see `nle`).
        method: How the edit is asked for (see `counterfactual`).
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest text, in tokens; None: 64 for an explanation, 128 for an edit.
        temperature: Of the text; judges are always greedy.
        seed: Which draw.
    """

    name: ClassVar[str] = "rating"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)

    judges: tuple[str, ...] = ("full",)
    dimensions: tuple[str, ...] = DIMENSIONS
    of: Of = "explanation"
    mode: Mode = "expected"
    least_mass: float = 0.01
    judge_tokens: int = 16
    style: Style = "predict-then-explain"
    method: Method = "fizle-naive"
    normalize: Normalize = "sum"
    max_new_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _names("judges", self.judges)
        _names("dimensions", self.dimensions)
        for dimension in self.dimensions:
            one_of("dimensions", dimension, DIMENSIONS)
        one_of("of", self.of, tuple(_KIND))
        one_of("mode", self.mode, ("expected", "parsed"))
        one_of("style", self.style, STYLES)
        one_of("method", self.method, METHODS)
        one_of("normalize", self.normalize, ("sum", "mean"))
        at_least_zero("least_mass", self.least_mass)
        at_least_one("judge_tokens", self.judge_tokens)
        if self.max_new_tokens is not None:
            at_least_one("max_new_tokens", self.max_new_tokens)
        at_least_zero("temperature", self.temperature)

    @property
    def roles(self) -> tuple[str, ...]:
        """The judges."""
        return self.judges

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The mean ratings, over the judges and of each, how far judges are apart, and what could not be rated."""
        several = len(self.judges) > 1
        found = [
            _rating(dimension, f"Mean {dimension} over all judges, from 1 to 5", primary=True)
            for dimension in self.dimensions
        ]
        if several:
            found += [
                _rating(f"{dimension}:{judge}", f"Mean {dimension} by the judge {judge}, from 1 to 5")
                for dimension in self.dimensions
                for judge in self.judges
            ]
            found += [
                Metric(
                    name=f"spread:{dimension}",
                    value=f"spread:{dimension}",
                    direction="neither",
                    unit="points",
                    summary=f"Mean distance of the highest from the lowest judge's {dimension}",
                )
                for dimension in self.dimensions
            ]
        found.append(_share("rated", "higher", "Share of items with a text that can be rated", 0.0))
        found.append(_share("unparsed", "lower", "Share of judgements in which no rating was found"))
        if several:
            found += [
                _share(f"unparsed:{judge}", "lower", f"Share of judgements by {judge} in which no rating was found")
                for judge in self.judges
            ]
        if self.mode == "expected":
            found += [
                _share(f"mass:{judge}", "higher", f"Probability that {judge} answers with a rating at all")
                for judge in self.judges
            ]
        return tuple(found)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the text, then all judges for all dimensions at once."""
        told = yield from (self._explanation if self.of == "explanation" else self._edit)(task, item)
        values = {**told.values, "rated": bool(words(told.text))}
        if not values["rated"]:
            return Record(values=values)
        places = [(dimension, judge) for judge in self.judges for dimension in self.dimensions]
        answers = yield [to_model(judge, self._request(task, item, told, dimension)) for dimension, judge in places]
        return Record(values={**values, **self._read(dict(zip(places, answers, strict=True)))})

    def _explanation(self, task: Task, item: Item) -> Asking[_Text]:
        told = yield from ask_explanation(
            task,
            item,
            style=self.style,
            max_new_tokens=self.max_new_tokens or _LONGEST["explanation"],
            normalize=self.normalize,
            temperature=self.temperature,
            seed=self.seed,
        )
        # Without a label there is nothing that the text explains.
        text = told.text if told.prediction is not None else ""
        values: dict[str, Value] = {"prediction": told.prediction, "text": told.text, "outcome": told.outcome}
        return _Text(label=told.prediction or "", text=text, values=values)

    def _edit(self, task: Task, item: Item) -> Asking[_Text]:
        choice = yield from ask_label(task, item, normalize=self.normalize)
        target = target_of(task, item, choice.prediction)
        edited = yield from ask_edit(
            task,
            item,
            prediction=choice.prediction,
            target=target,
            method=self.method,
            max_new_tokens=self.max_new_tokens or _LONGEST["counterfactual"],
            temperature=self.temperature,
            seed=self.seed,
        )
        values: dict[str, Value] = {
            "prediction": choice.prediction,
            "target": target,
            "text": edited.text,
            "outcome": edited.outcome,
        }
        return _Text(label=target, text=edited.text or "", values=values)

    def _request(self, task: Task, item: Item, told: _Text, dimension: str) -> Generate | Score:
        # One line: a text with line breaks could pass for the rest of the judge's instructions.
        text = " ".join(told.text.split())
        prompt = prompting.rate(task, item, told.label, text, kind=_KIND[self.of], dimension=dimension)
        if self.mode == "expected":
            return Score(prompt=prompt, continuations=RATINGS)
        return Generate(prompt=prompt, max_new_tokens=self.judge_tokens)

    def _read(self, answers: Mapping[tuple[str, str], Response]) -> dict[str, Value]:
        """Return the values of all judgements, by (dimension, judge)."""
        ratings: dict[tuple[str, str], float | None] = {}
        masses: dict[tuple[str, str], float] = {}
        raw: dict[str, Any] = {}
        for place, answer in answers.items():
            if self.mode == "parsed":
                raw[":".join(place)] = cast(Generation, answer).text
                ratings[place] = parse_rating(cast(Generation, answer).text)
                continue
            expected = expected_rating(cast(Scores, answer))
            masses[place] = expected.mass if expected else 0.0
            raw[":".join(place)] = list(expected.probabilities) if expected else None
            ratings[place] = expected.rating if expected and expected.mass >= self.least_mass else None
        values: dict[str, Value] = {":".join(place): rating for place, rating in ratings.items()}
        for dimension in self.dimensions:
            given = [ratings[dimension, judge] for judge in self.judges]
            known = [rating for rating in given if rating is not None]
            values[dimension] = sum(known) / len(known) if len(known) == len(given) else None
            if len(given) > 1:
                values[f"spread:{dimension}"] = max(known) - min(known) if len(known) == len(given) else None
        values["unparsed"] = _mean(rating is None for rating in ratings.values())
        for judge in self.judges:
            own = [place for place in ratings if place[1] == judge]
            values[f"unparsed:{judge}"] = _mean(ratings[place] is None for place in own)
            if self.mode == "expected":
                values[f"mass:{judge}"] = _mean(masses[place] for place in own)
        return {**values, "answers" if self.mode == "parsed" else "probabilities": raw}


def _names(setting: str, names: object) -> None:
    """Check that `names` are at least one name, each once, none with a colon (which parts the names of values)."""
    told = names if isinstance(names, tuple) else ()
    if not told or not all(isinstance(name, str) and name and ":" not in name for name in told):
        raise StudyError(f"The setting {setting} cannot be {names!r}.", fix="Give a list of at least one name.")
    if len(set(told)) < len(told):
        raise StudyError(f"The setting {setting} names one of {', '.join(told)} twice.", fix="Name each once.")


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _rating(name: str, summary: str, *, primary: bool = False) -> Metric:
    return Metric(name=name, value=name, direction="higher", unit="points", summary=summary, primary=primary)


def _share(name: str, direction: Literal["higher", "lower"], summary: str, on_failure: float | None = None) -> Metric:
    return Metric(name=name, value=name, direction=direction, unit="rate", summary=summary, on_failure=on_failure)
