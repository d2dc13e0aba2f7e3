"""Causal tracing of recalled facts: which states carry the subject, and where they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.errors import StudyError
from compressed_lens.knowledge.facts import beside_full, subject_of
from compressed_lens.lm.inspections import CausalTracing, Restored
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind

ROLES = ("first_subject", "middle_subject", "last_subject", "first_after", "further", "last")
_PARTS: tuple[Restored, ...] = ("state", "ffn", "attention")
_DIGITS = 4
_CALLED = {"state": "state", "ffn": "feed-forward outputs", "attention": "attention outputs"}


def effects_by_role(grid: Sequence[Sequence[float]], low: float, subject: int) -> dict[str, list[float] | None]:
    """Return the indirect effect [blocks] of each role of a token, averaged over its tokens; None where it has none.

    Args:
        grid: P(target) [tokens from the subject on][blocks] with one thing restored.
        low: P(target) with nothing restored.
        subject: How many of the tokens are the subject's.

    The roles are those of ROME (Meng et al. 2022, figure 2): first, middle and last token of the subject, the first
    one after it, further ones, and the prompt's last. One token may have two roles: the only token of a subject is its
    first and its last.
    """
    last = len(grid) - 1
    places = (
        range(1),
        range(1, subject - 1),
        range(subject - 1, subject),
        range(subject, min(subject + 1, last + 1)),
        range(subject + 1, last),
        range(last, last + 1),
    )
    found: dict[str, list[float] | None] = {}
    for role, own in zip(ROLES, places, strict=True):
        rows = [grid[place] for place in own]
        found[role] = [sum(column) / len(rows) - low for column in zip(*rows, strict=True)] if rows else None
    return found


@dataclass(frozen=True, kw_only=True)
class CausalTracingOfFacts:
    """Noise hides the subject, one clean piece of the computation is put back: how much of the answer returns?

    Values: `known` (whether the object's first token is the likeliest; nothing else is measured where it is not),
    `clean`, `low` and `total_effect` = clean - low (probabilities of that token), `<part>_<role>` [blocks]: indirect
    effects P - low for each part and token role (see `effects_by_role`), `<part>_peak` and `<part>_peak_block`: the
    largest of them at the subject's last token and its block; for the drill-down `tokens`, `subject_tokens` and the
    grids `state`, `ffn`, `attention` [tokens][blocks] of P; `outcome`, `deviation`, `window`.

    Attributes:
        samples: Noised copies a fact; 10 in ROME.
        noise: Standard deviation of the noise, in standard deviations of the subject's embeddings in full precision;
            3 in ROME.
        blocks: Blocks restored at a time for "ffn" and "attention"; None: 10 as in ROME, but no more than a third of
            the model's.
        parts: What is restored.
        seed: Of the noise.
    """

    name: ClassVar[str] = "causal_tracing"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall",)
    roles: ClassVar[tuple[str, ...]] = ("full",)

    samples: int = 10
    noise: float = 3.0
    blocks: int | None = None
    parts: tuple[Restored, ...] = _PARTS
    seed: int = 1

    def __post_init__(self) -> None:
        at_least_one("samples", self.samples)
        at_least_zero("noise", self.noise)
        at_least_zero("seed", self.seed)
        if self.blocks is not None:
            at_least_one("blocks", self.blocks)
        for part in self.parts:
            one_of("parts", part, _PARTS)
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise StudyError("The setting parts must name at least one part, each once.", fix=", ".join(_PARTS))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Effects, and whether there is something to trace."""
        peaks = [
            Metric(
                name=f"{part}_peak",
                value=f"{part}_peak",
                direction="neither",
                unit="rate",
                summary=f"How much of P comes back at best with the {_CALLED[part]} of the subject's last token",
            )
            for part in self.parts
        ]
        blocks = [
            Metric(
                name=f"{part}_peak_block",
                value=f"{part}_peak_block",
                direction="neither",
                unit="blocks",
                summary=f"In which block that is ({_CALLED[part]})",
            )
            for part in self.parts
        ]
        return (
            Metric(
                name="total_effect",
                value="total_effect",
                direction="neither",
                unit="rate",
                summary="P of the object's first token lost when noise hides the subject",
            ),
            *peaks,
            *blocks,
            Metric(
                name="known",
                value="known",
                direction="higher",
                unit="rate",
                summary="Share of facts the model knows (its first token is right), which alone are traced",
            ),
        )

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Indirect effects by block, at the subject's last token and at the prompt's."""
        return tuple(
            Curve(
                name=f"indirect effect: {_CALLED[part]}, {told}",
                value=f"{part}_{role}",
                unit="rate",
                direction="neither",
                summary=f"P of the object's first token that comes back with the {_CALLED[part]} of the {told}",
                axis="block",
            )
            for part in self.parts
            for role, told in (("last_subject", "subject's last token"), ("last", "prompt's last token"))
        )

    def steps(self, task: Task, item: Item) -> Steps:
        """Look whether the fact is known and how loud its noise is in full precision; then trace."""
        subject, text = subject_of(item), item.fields["prompt"]
        if not subject:
            return Record(values={}, failed="the prompt does not hold the subject")
        prompt = Prompt(text=text)
        quick = CausalTracing(target=item.answers[0], mention=subject, samples=1, parts=())
        loud, first = yield from beside_full(Inspect(prompt=prompt, by=quick))
        if not first["known"]:
            return Record(values={"known": False, "outcome": "not known"})
        trace = CausalTracing(
            target=item.answers[0],
            mention=subject,
            samples=self.samples,
            noise=self.noise,
            deviation=loud["deviation"],
            window=self.blocks,
            parts=self.parts,
            seed=self.seed,
        )
        (traced,) = yield [Inspect(prompt=prompt, by=trace)]
        return Record(values=self._values(cast(Inspection, traced).values))

    def _values(self, found: Mapping[str, Any]) -> dict[str, Value]:
        low, clean = float(found["low"]), float(found["clean"])
        values: dict[str, Value] = {
            "known": True,
            "outcome": "traced",
            "clean": clean,
            "low": low,
            "total_effect": clean - low,
            **{key: found[key] for key in ("tokens", "subject_tokens", "deviation", "window")},
        }
        for part in self.parts:
            effects = effects_by_role(found[part], low, int(found["subject_tokens"]))
            for role, effect in effects.items():
                values[f"{part}_{role}"] = effect
            own = effects["last_subject"] or []
            values[f"{part}_peak"] = max(own)
            values[f"{part}_peak_block"] = own.index(max(own))
            values[part] = [[round(chance, _DIGITS) for chance in row] for row in found[part]]
        return values
