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
    said = hypothesis.strip().removesuffix(".")
    if match := re.fullmatch(r"The (\w+) is (\w+)", said):
        subject, word = match.groups()
        if subject == garment:
            return _holds(word == colour) if word in _COLOURS else None
        if subject != agent:
            return None
        if word in ("outdoors", "indoors"):
            return _holds(_PLACES.get(place) == word)
        if word in ("awake", "asleep"):
            return _holds(word == "awake")
        if word in _UNKNOWN:
            return "neutral"
    if match := re.fullmatch(rf"The {agent} is (.+)", said):
        what = match[1]
        if what in _ACTIVITIES:
            return _holds(_ACTIONS.get(action) == what)
        if what in _ACTIONS:
            return _holds(what == action)
        if what in _PLACES:
            return _holds(what == place)
    return None


def _holds(truth: bool) -> str:
    return "entailment" if truth else "contradiction"


def generate(rng: Random) -> Example:
    """Draw one pair."""
    agent, garment = rng.choice(_AGENTS), rng.choice(_CLOTHES)
    colour, other = rng.sample(_COLOURS, 2)
    action, place = rng.choice(tuple(_ACTIONS)), rng.choice(tuple(_PLACES))
    premise = f"A {agent} in a {colour} {garment} is {action} {place}."
    label = rng.choice(LABELS)
    if label == "neutral":
        word = rng.choice(_UNKNOWN)
        hypothesis, edited, evidence = f"The {agent} is {word}.", f"The {agent} is asleep.", (word,)
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
