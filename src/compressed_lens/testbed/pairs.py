"""Premise and hypothesis pairs over small scenes: entailment, neutral or contradiction, with the reason known."""

from __future__ import annotations

import re
from random import Random

from compressed_lens.testbed.example import Example

LABELS = ("entailment", "neutral", "contradiction")
INSTRUCTION = "Decide how the hypothesis relates to the premise: entailment, neutral or contradiction."
TARGETS = {"entailment": "contradiction", "contradiction": "entailment", "neutral": "contradiction"}

_AGENTS = tuple("man woman boy girl chef nurse farmer soldier".split())
_COLOURS = tuple("red blue green yellow white black brown pink".split())
_CLOTHES = tuple("coat shirt hat scarf jacket sweater".split())
_ACTIONS = {
    "playing a guitar": "making music", "beating a drum": "making music", "frying an egg": "cooking",
    "baking a cake": "cooking", "running a race": "doing sport", "kicking a ball": "doing sport",
    "painting a fence": "working", "washing a car": "working", "reading a novel": "reading",
    "looking at a map": "reading",
}  # fmt: skip
_ACTIVITIES = tuple(sorted(set(_ACTIONS.values())))
_PLACES = {
    "in the park": "outdoors", "on the beach": "outdoors", "in a field": "outdoors", "on the street": "outdoors",
    "in the kitchen": "indoors", "in a museum": "indoors", "in the cellar": "indoors", "in a classroom": "indoors",
}  # fmt: skip
_UNKNOWN = tuple("tired famous rich hungry late lonely married shy clever proud".split())

_PREMISE = re.compile(r"A (\w+) in an? (\w+) (\w+) is (.+?) ((?:in|on) (?:a|the) \w+)\.")


def judge(premise: str, hypothesis: str) -> str | None:
    """Return the true label of `hypothesis` given a generated `premise`; None when it says nothing we can check."""
    scene = _PREMISE.fullmatch(premise.strip())
    if scene is None:
        return None
    agent, colour, garment, action, place = scene.groups()
    about_agent = (
        {word: word == _PLACES.get(place) for word in ("outdoors", "indoors")}
        | {"awake": True, "asleep": False}
        | {word: None for word in _UNKNOWN}
        | {activity: _ACTIONS.get(action) == activity for activity in _ACTIVITIES}
        | {other: other == action for other in _ACTIONS}
        | {other: other == place for other in _PLACES}
    )
    claims: dict[str, bool | None] = {f"The {agent} is {what}": truth for what, truth in about_agent.items()}
    claims |= {f"The {garment} is {word}": word == colour for word in _COLOURS}
    said = hypothesis.strip().removesuffix(".")
    if said not in claims:
        return None
    truth = claims[said]
    return "neutral" if truth is None else "entailment" if truth else "contradiction"


def generate(rng: Random) -> Example:
    """Draw one pair."""
    agent, garment = rng.choice(_AGENTS), rng.choice(_CLOTHES)
    colour, other = rng.sample(_COLOURS, 2)
    action, place = rng.choice(tuple(_ACTIONS)), rng.choice(tuple(_PLACES))
    premise = f"A {agent} in a {colour} {garment} is {action} {place}."
    label = rng.choice(LABELS)
    if label == "neutral":
        word = rng.choice(_UNKNOWN)
        hypothesis, edited = f"The {agent} is {word}.", f"The {agent} is asleep."
        evidence: tuple[str, ...] = (word,)
        reason = f"The premise does not say whether the {agent} is {word}."
    else:
        kind = rng.choice(("colour", "setting", "activity", "waking"))
        if kind == "colour":
            true, false, subject = colour, other, f"The {garment}"
            because = f"The {garment} is {colour}"
        elif kind == "setting":
            true = _PLACES[place]
            false, subject = "indoors" if true == "outdoors" else "outdoors", f"The {agent}"
            because = f"The {agent} is {place}"
        elif kind == "activity":
            true = _ACTIONS[action]
            false, subject = rng.choice([a for a in _ACTIVITIES if a != true]), f"The {agent}"
            because = f"The {agent} is {action}"
        else:
            true, false, subject = "awake", "asleep", f"The {agent}"
            because = f"The {agent} is {action}"
        claimed, swapped = (true, false) if label == "entailment" else (false, true)
        hypothesis, edited = f"{subject} is {claimed}.", f"{subject} is {swapped}."
        evidence = (colour, claimed) if kind == "colour" else (because.split()[-1], claimed)
        reason = f"{because}, so {subject.lower()} is {'' if label == 'entailment' else 'not '}{claimed}."
    return Example(
        fields={"premise": premise, "hypothesis": hypothesis},
        label=label,
        evidence=tuple(dict.fromkeys(evidence)),
        explanation=reason,
        target=TARGETS[label],
        edited=edited,
    )
