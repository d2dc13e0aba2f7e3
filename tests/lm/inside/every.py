"""Every inspection once with several prompts: what is asked, and when two answers are the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from compressed_lens.lm.inspections import (
    BackPatch,
    CausalTracing,
    Consistency,
    Describe,
    Example,
    IntegratedNeurons,
    Intervene,
    Layers,
    Lens,
    LinearRelation,
    Neurons,
    QueryNeurons,
)
from compressed_lens.lm.protocol import Inspect, Inspector, Prompt

Fact = tuple[str, str, str]

PLAIN: tuple[Fact, ...] = (
    ("the capital of France is", "France", "Paris"),
    ("a man in a red coat walks his dog in the park because of", "a red coat", "the rain"),
    ("the river runs to", "river", "sea"),
)
"""(Prompt, mention, target) that any tokenizer can read."""

_SETS = (((0, 3), (1, 5)), ((2, 1), (2, 7), (0, 0)), ())


def every(facts: tuple[Fact, ...] = PLAIN) -> dict[str, list[Inspect]]:
    """Return requests for each inspection, one a fact."""

    def asked(make: Any) -> list[Inspect]:
        return [Inspect(prompt=Prompt(text=text), by=_by(make, mention, target)) for text, mention, target in facts]

    def _by(make: Any, mention: str, target: str) -> Inspector:
        made: Inspector = make(mention, target)
        return made

    other = Prompt(text=facts[0][0])
    examples = tuple(Example(prompt=Prompt(text=text), mention=m, target=t) for text, m, t in facts[1:])
    return {
        "Lens": asked(lambda m, t: Lens(target=t, mention=m)),
        "Layers": asked(lambda _, t: Layers(target=t)),
        "Neurons": asked(
            lambda _, t: Neurons(target=t, top=5, attention=True, reach=1e-3, reach_attention=1e-3, watch=((1, 2),))
        ),
        "QueryNeurons": asked(lambda _, t: QueryNeurons(target=t, values=4, top=5)),
        "IntegratedNeurons": asked(lambda _, t: IntegratedNeurons(target=t, steps=4)),
        "Intervene": asked(lambda _, t: Intervene(target=t, sets=_SETS, draws=2)),
        "CausalTracing": asked(
            lambda m, t: CausalTracing(target=t, mention=m, samples=2, parts=("state", "ffn", "attention"))
        ),
        "LinearRelation": asked(lambda m, t: LinearRelation(target=t, mention=m, examples=examples, betas=(1.0, 2.0))),
        "Consistency": asked(lambda m, t: Consistency(other=other, mention=m, target=t)),
        "Describe": asked(
            lambda m, _: Describe(identity=Prompt(text="red: red; sea: sea; x"), mention=m, stride=2, max_new_tokens=3)
        ),
        "BackPatch": asked(
            lambda m, _: BackPatch(mention=m, donor=other, donor_mention=facts[0][1], stride=2, max_new_tokens=3)
        ),
    }


EVERY = tuple(every())


def differences(a: Any, b: Any, *, share: float = 1e-3, least: float = 2e-4, at: str = "") -> Iterator[str]:
    """Say where two values differ: numbers by more than a share of the larger one and `least`, anything else at all."""
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        for key in a:
            yield from differences(a[key], b[key], share=share, least=least, at=f"{at}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for n, pair in enumerate(zip(a, b, strict=True)):
            yield from differences(*pair, share=share, least=least, at=f"{at}[{n}]")
    elif isinstance(a, float) and isinstance(b, float):
        if not abs(a - b) <= least + share * max(abs(a), abs(b)):
            yield f"{at}: {a} is not {b}"
    elif a != b or type(a) is not type(b):
        yield f"{at}: {a!r} is not {b!r}"


def numbers(value: Any) -> Iterator[float]:
    """Yield every number in a value, None as not a number."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif not isinstance(value, str):
        yield math.nan if value is None else float(value)


def form(value: Any) -> Any:
    """Return what kind of thing a value is: keys and, without their number, the elements of its lists."""
    if isinstance(value, Mapping):
        return {key: form(part) for key, part in value.items()}
    if isinstance(value, list):
        kinds = [form(part) for part in value if part is not None and part != []]
        return [kinds[0]] if kinds else []
    return "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"
