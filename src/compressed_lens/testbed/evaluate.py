"""The reference model against its world's own truth: labels, explanations, edits, one-hop and two-hop facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import mentions
from compressed_lens.lm.protocol import Generate, LanguageModel, Message, Prompt, Score
from compressed_lens.tasks import Item, load_task
from compressed_lens.testbed import pairs, reviews, world

_EDIT = re.compile(r"<new>(.*?)</new>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One share of the evaluation.

    Attributes:
        name: What was counted.
        right: Number of items that hold.
        n: Number of items asked.
        target: Share the reference model must reach at full precision; None when it is only reported.
    """

    name: str
    right: int
    n: int
    target: float | None

    @property
    def rate(self) -> float:
        """Share of items that hold, 0 to 1; higher is better."""
        return self.right / self.n

    @property
    def met(self) -> bool:
        """Whether the share reaches the target."""
        return self.target is None or self.rate >= self.target


def names_all(explanation: str, evidence: Sequence[str]) -> bool:
    """Whether every evidence word occurs in the explanation as a whole word."""
    return all(mentions(explanation, word) for word in evidence)


def _label_tasks(model: LanguageModel, name: str, judge: Callable[[Item, str], str | None]) -> list[Figure]:
    task = load_task(f"testbed-{name}")
    items, n = task.items, len(task.items)
    scores = model.score([Score(prompt=prompting.classify(task, i), continuations=task.labels) for i in items])
    said = [task.labels[max(range(len(task.labels)), key=s.log_probabilities.__getitem__)] for s in scores]
    reasons = model.generate([Generate(prompt=prompting.explain(task, i, s)) for i, s in zip(items, said, strict=True)])
    edits = model.generate(
        [
            Generate(prompt=prompting.counterfactual(task, i, s, task.targets[s]), max_new_tokens=96)
            for i, s in zip(items, said, strict=True)
        ]
    )
    flipped = 0
    for item, label, edit in zip(items, said, edits, strict=True):
        found = _EDIT.search(edit.text)
        flipped += found is not None and judge(item, found[1].strip()) == task.targets[label]
    return [
        Figure(
            name=f"{name}: label accuracy",
            right=sum(s == i.answers[0] for s, i in zip(said, items, strict=True)),
            n=n,
            target=0.95,
        ),
        Figure(
            name=f"{name}: explanation names all true evidence",
            right=sum(names_all(r.text, i.extra["evidence"]) for r, i in zip(reasons, items, strict=True)),
            n=n,
            target=0.90,
        ),
        Figure(name=f"{name}: counterfactual flips the true label", right=flipped, n=n, target=0.85),
    ]


def _recalled(model: LanguageModel, asked: Sequence[tuple[Prompt, str]]) -> int:
    answers = model.generate([Generate(prompt=prompt, max_new_tokens=6) for prompt, _ in asked])
    return sum(
        re.match(rf"{re.escape(truth)}\b", answer.text.strip()) is not None
        for answer, (_, truth) in zip(answers, asked, strict=True)
    )


def _recall(model: LanguageModel) -> list[Figure]:
    def ask(text: str, truth: str, *, question: bool = False) -> tuple[Prompt, str]:
        if question:
            return Prompt(messages=(Message(role="user", content=text),)), truth
        return Prompt(text=text), truth

    facts = [(f, world.RELATIONS[f.relation]) for f in world.facts()]
    chains = [(c, world.RELATIONS[c.second.relation]) for c in world.chains()]

    def hop(held_out: bool) -> list[tuple[Prompt, str]]:
        return [ask(world.two_hop(r.completions[0], c), c.second.object) for c, r in chains if c.held_out == held_out]

    sets: list[tuple[str, list[tuple[Prompt, str]], float | None]] = [
        (
            "one-hop recall, first phrasing",
            [ask(world.sentence(r.completions[0].format(f.subject)), f.object) for f, r in facts],
            0.97,
        ),
        (
            "one-hop recall, phrasing never trained for that fact",
            [
                ask(world.sentence(r.completions[hidden].format(f.subject)), f.object)
                for f, r in facts
                if (hidden := world.held_out_phrasing(f)) is not None
            ],
            None,
        ),
        (
            "one-hop recall, as a chat question",
            [ask(world.sentence(r.questions[0].format(f.subject)), f.object, question=True) for f, r in facts],
            0.97,
        ),
        ("two-hop recall, trained compositions", hop(False), 0.80),
        ("two-hop recall, held-out compositions", hop(True), None),
    ]
    return [
        Figure(name=name, right=_recalled(model, asked), n=len(asked), target=target) for name, asked, target in sets
    ]


def evaluate(model: LanguageModel) -> list[Figure]:
    """Measure a model on everything the testbed knows the truth of.

    Reviews and pairs are held out of training; one-hop facts are asked in a trained phrasing, in one
    never trained for that fact, and as a chat question; two-hop chains apart by whether they were trained.

    Returns:
        Shares with their counts; all higher is better.
    """
    return [
        *_label_tasks(model, "reviews", lambda _, text: reviews.judge(text)),
        *_label_tasks(model, "pairs", lambda item, text: pairs.judge(item.fields["premise"], text)),
        *_recall(model),
    ]
