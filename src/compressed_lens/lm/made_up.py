"""Responses of the right form, made up without a model: for estimates, and to drive analyses through all their steps.

What is inside a model is made up for one of four blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compressed_lens.errors import ModelError
from compressed_lens.lm import inspections as looks
from compressed_lens.lm.protocol import (
    Attribute,
    Attribution,
    Embed,
    Embedding,
    Generate,
    Generation,
    Inspect,
    Inspection,
    Read,
    Request,
    Response,
    Score,
    Scores,
    Trace,
    Traced,
)

CHARACTERS_A_TOKEN = 4
_BLOCKS = 4
_STATES = _BLOCKS + 1
_HEADS = 2


def made_up(request: Request) -> Response:
    """Return a response to `request` that any analysis can go on from; every answer is as long as it may be.

    Raises:
        ModelError: It is an inspection from elsewhere, without a method `made_up` that says what it answers.
    """
    made: Response = _RESPONSES[type(request)](request)
    return made


def _generation(request: Generate) -> Generation:
    text = "word " * (request.max_new_tokens // 2)
    return Generation(text=text, tokens=request.max_new_tokens, finished=True)


def _scores(request: Score) -> Scores:
    options = len(request.continuations)
    falling = tuple(-1.0 - n for n in range(options))
    return Scores(log_probabilities=falling, tokens=(1,) * options, greedy=(False,) * options)


def _traced(request: Trace) -> Traced:
    tokens = len(request.continuation) // CHARACTERS_A_TOKEN + 1
    return Traced(log_probabilities=(-1.0,) * tokens, log_odds=(-0.5,) * tokens)


def _read(request: Read) -> Traced:
    return Traced(log_probabilities=(-1.0,) * (len(request.text) // CHARACTERS_A_TOKEN + 1))


def _embedding(_: Embed) -> Embedding:
    return Embedding(vector=(1.0,))


def _attribution(request: Attribute) -> Attribution:
    return Attribution(spans=((0, len(request.within)),), values=(1.0,))


def _inspection(request: Inspect) -> Inspection:
    by = request.by
    make = _SEEN.get(type(by), getattr(type(by), "made_up", None))
    if make is None:
        raise ModelError(f"What {type(by).__name__} finds inside a model cannot be made up.")
    return Inspection(values=make(by))


def _lens(_: looks.Lens) -> dict[str, Any]:
    return {
        "log_probability": [-9.0 + n for n in range(_STATES)],
        "rank": [_STATES - n for n in range(_STATES)],
        "top": ["word"] * _STATES,
        "token": "word",
        "place": 1,
    }


def _layers(_: looks.Layers) -> dict[str, Any]:
    parts = {"attention": [0.2] * _BLOCKS, "ffn": [0.3] * _BLOCKS, "heads": [[0.1] * _HEADS for _ in range(_BLOCKS)]}
    return {**parts, "scale": 1.0, **_known()}


def _neurons(by: looks.Neurons) -> dict[str, Any]:
    ffn = _found([[n % _BLOCKS, n, 1.0 / (1 + n)] for n in range(by.top)], by.reach)
    attention = _found([[n % _BLOCKS, 0, n, 0, 1.0 / (1 + n)] for n in range(by.top)], by.reach_attention)
    more = {"attention": attention} if by.attention else {}
    return {"ffn": ffn, **more, "watched": [0.1] * len(by.watch), "scale": 1.0, **_known()}


def _known() -> dict[str, Any]:
    return {"log_probability": -1.0, "token": "word", "known": True}


def _found(neurons: list[list[float]], reach: float | None) -> dict[str, Any]:
    reaching = None if reach is None else len(neurons)
    of = [10 * len(neurons) + 1] * _BLOCKS
    return {"neurons": neurons, "reaching": reaching, "projected": len(neurons), "of": of}


def _query(by: looks.QueryNeurons) -> dict[str, Any]:
    neurons = [[n % _BLOCKS, n, 1.0 / (1 + n)] for n in range(by.top)]
    parts = {"embedding": 0.1, "attention": [0.1] * _BLOCKS, "ffn": [0.1] * _BLOCKS, "total": 0.9}
    return {**parts, "neurons": neurons, "of": [by.top + 1] * _BLOCKS, "token": "word", "known": True}


def _integrated(by: looks.IntegratedNeurons) -> dict[str, Any]:
    neurons = [[n % _BLOCKS, n, 1.0 - n / 20] for n in range(min(10, by.most))]
    sums = {"total": [0.1] * _BLOCKS, "change": [0.1] * _BLOCKS}
    return {"neurons": neurons, "maximum": 1.0, **sums, "probability": 0.5, "token": "word"}


def _intervened(by: looks.Intervene) -> dict[str, Any]:
    sets = len(by.sets)
    drawn = {"random": [[-1.1] * by.draws] * sets, "random_kept": [[True] * by.draws] * sets} if by.draws else {}
    found = {"log_probability": [-2.0] * sets, "before": -1.0, "kept": [False] * sets, **drawn}
    return {**found, "sizes": [64] * _BLOCKS, "token": "word"}


def _restored(by: looks.CausalTracing) -> dict[str, Any]:
    told = {"tokens": ["word", " word"], "subject_tokens": 1, "clean": 0.9, "low": 0.1, "known": True}
    table = [[0.1 * n for n in range(_BLOCKS)], [0.2 * n for n in range(_BLOCKS)]]
    return {**told, **dict.fromkeys(by.parts, table), "deviation": 0.1, "window": 1, "token": "word"}


def _mapped(by: looks.LinearRelation) -> dict[str, Any]:
    betas = len(by.betas)
    found = {"top": ["word"] * betas, "rank": [1] * betas, "log_probability": [-1.0] * betas, "agrees": [True] * betas}
    return {**found, "predicted": "word", "known": True, "layer": 2, "token": "word"}


def _consistent(_: looks.Consistency) -> dict[str, Any]:
    gradient = [*[0.1] * _BLOCKS, None]
    return {"score": -2.0, "entropy": 1.0, "other_entropy": 1.0, "gradient": gradient, "same_top": True}


def _described(by: looks.Describe) -> dict[str, Any]:
    sources, targets = _chosen(by.sources, by.stride, _STATES), _chosen(by.targets, by.stride, _BLOCKS)
    texts = [["word"] * len(targets) for _ in sources]
    return {"sources": sources, "targets": targets, "texts": texts, "states": _STATES}


def _patched(by: looks.BackPatch) -> dict[str, Any]:
    sources, targets = _chosen(by.sources, by.stride, _STATES), _chosen(by.targets, by.stride, _BLOCKS)
    pairs = [[s, t] for s in sources for t in targets if s > t]
    return {"pairs": pairs, "texts": ["word"] * len(pairs), "states": _STATES}


def _chosen(states: looks.States, stride: int, count: int) -> list[int]:
    if isinstance(states, tuple):
        return list(dict.fromkeys(min(state, count - 1) for state in states))
    return list(range(0, count if states == "all" else _BLOCKS // 2 + 1, stride))


_RESPONSES: Mapping[type, Callable[[Any], Response]] = {
    Generate: _generation,
    Score: _scores,
    Trace: _traced,
    Read: _read,
    Embed: _embedding,
    Attribute: _attribution,
    Inspect: _inspection,
}
_SEEN: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    looks.Lens: _lens,
    looks.Layers: _layers,
    looks.Neurons: _neurons,
    looks.QueryNeurons: _query,
    looks.IntegratedNeurons: _integrated,
    looks.Intervene: _intervened,
    looks.CausalTracing: _restored,
    looks.LinearRelation: _mapped,
    looks.Consistency: _consistent,
    looks.Describe: _described,
    looks.BackPatch: _patched,
}
