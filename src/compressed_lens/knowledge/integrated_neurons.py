"""Knowledge neurons by integrated gradients: which hold a fact, what they do, and whether quantization keeps them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.errors import StudyError
from compressed_lens.ids import digest
from compressed_lens.knowledge.facts import check_token, other_wordings
from compressed_lens.lm.inspections import IntegratedNeurons, Intervene, Neuron, Rule
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind

RULES: tuple[Rule, ...] = ("left", "right", "trapezoid", "linspace")
FEWEST_PROMPTS = 3
_LISTED = 10
_SMALLEST = 1e-300


def refined(lists: Sequence[Sequence[Neuron]], shared: float) -> list[Neuron]:
    """Return the neurons found with more than the share `shared` of the prompts, in the order of the first prompt.

    Neurons that the first prompt does not have come last, in their own order.

    Args:
        lists: What was found with each prompt.
        shared: Between 0 and 1; 0.7 in Dai et al. 2022.
    """
    counts = Counter(neuron for one in lists for neuron in set(one))
    order = dict.fromkeys((*lists[0], *sorted(counts)))
    return [neuron for neuron in order if counts[neuron] > shared * len(lists)]


def relative_change(before: float, after: float) -> float | None:
    """Return (P after - P before) / P before of two log-probabilities; None where P before is beyond floating point."""
    start = math.exp(before)
    return None if start < _SMALLEST else (math.exp(after) - start) / start


def draw_seed(item: Item) -> int:
    """Return the seed of an item's random neurons: the same for every variant."""
    return int(digest([item.id, item.fields["prompt"]], length=8), 16)


@dataclass(frozen=True, kw_only=True)
class KnowledgeNeurons:
    """Find the knowledge neurons of a fact, suppress and enhance them, and look whether full precision has the same.

    Values: `probability` of the object's first token; `coarse`, `neurons` and `full_neurons` (how many: of the prompt
    alone; chosen; chosen in full precision), `chosen_by` ("refined", or "coarse" with fewer than 3 prompts), `prompts`
    (how many were used), `chosen` [block, index], `top` (the 10 largest attributions, [block, index, attribution]),
    `by_block` (chosen ones in each block), `completeness_error` (largest gap, over the blocks, between the sum of the
    attributions and P - P without the block's neurons); `jaccard` and `full_kept` against full precision; relative
    changes of the object's probability when the chosen neurons are set to zero (`suppression`) or doubled
    (`enhancement`), and the mean of the same for random neurons of the same blocks (`suppression_random`,
    `enhancement_random`).

    Attributes:
        paraphrases: Most other wordings of the fact used to refine the neurons; 0 for none.
        share: Least share of the largest attribution, for the coarse set; 0.2 in the reference.
        shared: The refined set is what more than this share of the prompts have in common; 0.7 in the reference.
        rule: Riemann rule (see docs/knowledge.md); "right" is the paper's.
        path_steps: Parts the path is cut into; 20 in the reference.
        most: Longest coarse set.
        draws: Random sets for comparison.
    """

    name: ClassVar[str] = "integrated_neurons"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall",)
    roles: ClassVar[tuple[str, ...]] = ("full",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="full_neurons_kept",
            value="full_kept",
            direction="neither",
            unit="rate",
            summary="Share of full precision's knowledge neurons of a fact that are knowledge neurons here, too",
        ),
        Metric(
            name="jaccard",
            value="jaccard",
            direction="neither",
            unit="rate",
            summary="Overlap of the knowledge neurons with full precision's: shared ones over all of both",
        ),
        Metric(
            name="knowledge_neurons",
            value="neurons",
            direction="neither",
            unit="neurons",
            summary="Mean number of knowledge neurons of a fact",
        ),
        Metric(
            name="suppression_effect",
            value="suppression",
            direction="neither",
            unit="of P",
            summary="Mean relative change of P(object) with its knowledge neurons at zero",
        ),
        Metric(
            name="suppression_random",
            value="suppression_random",
            direction="neither",
            unit="of P",
            summary="The same with random neurons of the same blocks",
        ),
        Metric(
            name="enhancement_effect",
            value="enhancement",
            direction="neither",
            unit="of P",
            summary="Median relative change of P(object) with its knowledge neurons doubled",
            statistic="median",
        ),
        Metric(
            name="enhancement_random",
            value="enhancement_random",
            direction="neither",
            unit="of P",
            summary="The same with random neurons of the same blocks",
            statistic="median",
        ),
        Metric(
            name="completeness_error",
            value="completeness_error",
            direction="neither",
            unit="rate",
            summary="Largest gap between a block's attributions and what its neurons change: error of the Riemann sum",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="knowledge neurons",
            value="by_block",
            unit="neurons",
            direction="neither",
            summary="Mean number of a fact's knowledge neurons (integrated gradients) in each block",
            axis="block",
        ),
    )

    paraphrases: int = 8
    share: float = 0.2
    shared: float = 0.7
    rule: Rule = "right"
    path_steps: int = 20
    most: int = 200
    draws: int = 5

    def __post_init__(self) -> None:
        if self.paraphrases:
            at_least_one("paraphrases", self.paraphrases)
        at_least_zero("share", self.share)
        at_least_zero("shared", self.shared)
        for setting in ("share", "shared"):
            if getattr(self, setting) >= 1:
                raise StudyError(f"The setting {setting} must be below 1.", fix="Give a share such as 0.2 or 0.7.")
        one_of("rule", self.rule, RULES)
        for setting in ("path_steps", "most", "draws"):
            at_least_one(setting, getattr(self, setting))

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the neurons of every wording, here and in full precision, then for the effect of those chosen."""
        others = other_wordings(item)[: self.paraphrases]
        prompts = [Prompt(text=text) for text in (item.fields["prompt"], *others)]
        target = item.answers[0]
        by = IntegratedNeurons(target=target, steps=self.path_steps, rule=self.rule, share=self.share, most=self.most)
        asked = [Inspect(prompt=prompt, by=by) for prompt in prompts]
        answers = yield [*asked, *(Ask(to="full", request=request) for request in asked)]
        found = [cast(Inspection, answer).values for answer in answers]
        first, lists = found[0], [_neurons(values) for values in found]
        check_token(first["token"])
        chosen, full = self._chosen(lists[: len(asked)]), self._chosen(lists[len(asked) :])
        both = set(chosen) & set(full)
        values: dict[str, Any] = {
            "probability": first["probability"],
            "prompts": len(prompts),
            "coarse": len(lists[0]),
            "neurons": len(chosen),
            "chosen_by": "refined" if len(prompts) >= FEWEST_PROMPTS else "coarse",
            "chosen": [list(neuron) for neuron in chosen],
            "top": first["neurons"][:_LISTED],
            "by_block": [sum(own == block for own, _ in chosen) for block in range(len(first["total"]))],
            "completeness_error": max(abs(a - b) for a, b in zip(first["total"], first["change"], strict=True)),
            "full_neurons": len(full),
            "full_kept": len(both) / len(full) if full else None,
            "jaccard": len(both) / len({*chosen, *full}) if chosen or full else None,
        }
        if chosen:
            seed = draw_seed(item)
            effects = yield [
                Inspect(
                    prompt=prompts[0],
                    by=Intervene(target=target, sets=(tuple(chosen),), factor=factor, draws=self.draws, seed=seed),
                )
                for factor in (0.0, 2.0)
            ]
            for name, effect in zip(("suppression", "enhancement"), effects, strict=True):
                read = cast(Inspection, effect).values
                values[name] = relative_change(read["before"], read["log_probability"][0])
                random_ones = [relative_change(read["before"], value) for value in read["random"][0]]
                known = [value for value in random_ones if value is not None]
                values[f"{name}_random"] = sum(known) / len(known) if known else None
        return Record(values=values)

    def _chosen(self, lists: Sequence[Sequence[Neuron]]) -> list[Neuron]:
        return list(lists[0]) if len(lists) < FEWEST_PROMPTS else refined(lists, self.shared)


def _neurons(values: Mapping[str, Any]) -> list[Neuron]:
    return [(block, index) for block, index, _ in values["neurons"]]
