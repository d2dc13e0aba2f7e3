"""Premise and hypothesis pairs over small scenes: entailment, neutral or contradiction, with the reason known."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a premise describes."""

    agent: str
    garment: str
    colour: str
    action: str
    place: str

    @property
    def premise(self) -> str:
        """The scene in one sentence."""
        return f"A {self.agent} in a {self.colour} {self.garment} is {self.action} {self.place}."


def scene(rng: Random) -> Scene:
    """Draw one scene."""
    return Scene(
        agent=rng.choice(_AGENTS),
        garment=rng.choice(_CLOTHES),
        colour=rng.choice(_COLOURS),
        action=rng.choice(tuple(_ACTIONS)),
        place=rng.choice(tuple(_PLACES)),
    )


def generate(rng: Random) -> Example:
    """Draw one pair."""
    return about(scene(rng), rng)


def about(scene: Scene, rng: Random) -> Example:
    """Draw one hypothesis about a scene, the three labels equally often."""
    agent = f"The {scene.agent}"
    label = rng.choice(LABELS)
    if label == "neutral":
        word = rng.choice(_UNKNOWN)
        hypothesis, edited = f"{agent} is {word}.", f"{agent} is asleep."
        evidence: tuple[str, ...] = (word,)
        reason = f"The premise does not say whether the {scene.agent} is {word}."
    else:
        subject, because = agent, f"{agent} is {scene.action}"
        kind = rng.choice(("colour", "setting", "activity", "waking"))
        if kind == "colour":
            subject = f"The {scene.garment}"
            true, false = scene.colour, rng.choice([c for c in _COLOURS if c != scene.colour])
            because = f"{subject} is {scene.colour}"
        elif kind == "setting":
            true = _PLACES[scene.place]
            false = "indoors" if true == "outdoors" else "outdoors"
            because = f"{agent} is {scene.place}"
        elif kind == "activity":
            true = _ACTIONS[scene.action]
            false = rng.choice([a for a in _ACTIVITIES if a != true])
        else:
            true, false = "awake", "asleep"
        claimed, swapped = (true, false) if label == "entailment" else (false, true)
        hypothesis, edited = f"{subject} is {claimed}.", f"{subject} is {swapped}."
        evidence = (because.split()[-1], claimed)
        reason = f"{because}, so {subject.lower()} is {'' if label == 'entailment' else 'not '}{claimed}."
    return Example(
        fields={"premise": scene.premise, "hypothesis": hypothesis},
        label=label,
        evidence=tuple(dict.fromkeys(evidence)),
        explanation=reason,
        target=TARGETS[label],
        edited=edited,
    )
