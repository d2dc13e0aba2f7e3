"""The recommendation: one paragraph a manager can read, each sentence resting on a table of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Variant
from compressed_lens.comparison.uses import USES, UseVerdict
from compressed_lens.report.formatting import bounds, counted, difference, difference_unit, listed, number
from compressed_lens.report.headline import Labels, Sentence, Tone, anchor_of

VERDICTS = "verdicts"
"""Id of the table of verdicts."""
FLOOR = "noise-floor"
"""Id of the table of placebo variants."""

_AS_GOOD = frozenset({"equivalent", "non-inferior"})


def recommendation(
    verdicts: Sequence[UseVerdict], figures: Sequence[Figure], variants: Sequence[Variant], *, margins_moved: bool
) -> tuple[Sentence, ...]:
    """Put the verdicts into a paragraph.

    Args:
        verdicts: What `use_verdicts` returns.
        figures: The run's figures.
        variants: The run's variants.
        margins_moved: Whether margins were changed after the run began.
    """
    labels = Labels(figures)
    told: list[Sentence] = []
    models = list(dict.fromkeys(variant.model for variant in variants))
    for model in models:
        own = [v for v in variants if v.model == model]
        bad_base = any(v.name == FULL and v.gate == "failed" for v in own)
        if bad_base:
            text = f"Full precision of {model} itself failed the integrity gate: nothing compared with it is sound."
            told.append(Sentence(tone="failed", text=text, anchor="integrity"))
        name = f"For {model}: " if len(models) > 1 else ""
        mine = [v for v in verdicts if v.model == model and not v.placebo]
        told += _of_model(mine, own, labels, name)
        if mine:
            told.append(_floor(own, figures, name))
    if margins_moved:
        text = "The margins are others than when the run began: they were set after records could be seen."
        told.append(Sentence(tone="open", text=text, anchor=VERDICTS))
    return tuple(told)


def _of_model(verdicts: Sequence[UseVerdict], variants: Sequence[Variant], labels: Labels, name: str) -> list[Sentence]:
    measured: dict[str, list[UseVerdict]] = {}
    for use in verdicts:
        if use.verdict != "not measured":
            measured.setdefault(use.variant, []).append(use)
    sound = {v.name: measured[v.name] for v in variants if v.name in measured and v.gate == "passed"}
    good = [v for v, uses in sound.items() if all(u.verdict in _AS_GOOD for u in uses)]
    worse = [v for v, uses in sound.items() if any(u.verdict == "worse" for u in uses)]
    told = []
    if sound:
        told.append(_choice(good, variants, name, tone="worse" if len(worse) == len(sound) else "open"))
    still_open = {v: uses for v, uses in sound.items() if v not in good and v not in worse}
    told += [_open(still_open, name)] if len(still_open) > 1 else _alike(still_open, labels, name)
    told += _alike({v: sound[v] for v in worse}, labels, name)
    for variant in variants:
        if variant.gate == "failed" and variant.name != FULL:
            text = f"{name}{variant.name} failed the integrity gate; its figures are no fair picture of its method."
            told.append(Sentence(tone="failed", text=text, anchor="integrity"))
        elif variant.gate in {"unavailable", "pending"}:
            text = f"{name}{variant.name} could not be measured: {variant.reason or 'the run has not reached it yet.'}"
            told.append(Sentence(tone="unavailable", text=text, anchor="integrity"))
    return told


def _choice(good: Sequence[str], variants: Sequence[Variant], name: str, *, tone: Tone) -> Sentence:
    if not good:
        text = f"{name}No variant is shown to be as good as full precision in every use that was measured."
        return Sentence(tone=tone, text=text, anchor=VERDICTS)
    sizes = {v.name: v.bytes_on_disk or math.inf for v in variants}
    smallest = min(good, key=lambda v: sizes[v])
    share = sizes[smallest] / sizes.get(FULL, math.inf)
    size = f", at {number(100 * share, digits=2)} % of its size on disk" if 0 < share < math.inf else ""
    text = f"{name}{smallest} can take the place of full precision{size}: "
    text += "in no use that was measured does it lose as much as the margin."
    rest = [v for v in good if v != smallest]
    if rest:
        text += f" So can {listed(rest)}."
    return Sentence(tone="better", text=text, anchor=VERDICTS)


def _open(variants: Mapping[str, Sequence[UseVerdict]], name: str) -> Sentence:
    """Say of several variants that are worse in nothing what stays undecided, use by use."""
    found = [use for uses in variants.values() for use in uses if use.verdict == "undecided"]
    told = []
    for use, label in USES.items():
        names = [one.variant for one in found if one.use == use]
        if names:
            told.append(f"{label} ({'all' if len(names) == len(variants) else ', '.join(names)})")
    text = f"{name}{listed(list(variants))} are shown to be worse in nothing; still undecided: {listed(told)}"
    factors = [one.more for one in found]
    known = [factor for factor in factors if factor]
    if known and len(known) == len(factors):
        low, high = (f"{bound:.1f}" for bound in (min(known), max(known)))
        text += f"; {low if low == high else f'{low} to {high}'} times the items would decide"
    return Sentence(tone="open", text=text + ".", anchor=VERDICTS)


def _alike(variants: Mapping[str, Sequence[UseVerdict]], labels: Labels, name: str) -> list[Sentence]:
    """Say one sentence for all variants that stand alike in every use."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for variant, uses in variants.items():
        groups.setdefault(tuple((u.use, _standing(u)) for u in uses), []).append(variant)
    return [_told(names, variants, labels, name) for names in groups.values()]


def _standing(use: UseVerdict) -> str:
    return "kept" if use.verdict in _AS_GOOD else use.verdict


def _told(names: list[str], variants: Mapping[str, Sequence[UseVerdict]], labels: Labels, name: str) -> Sentence:
    uses = variants[names[0]]
    several = len(names) > 1
    surest = _surest(names, variants)
    parts = []
    for standing, verb in (
        ("worse", "are worse in" if several else "is worse in"),
        ("kept", "keep" if several else "keeps"),
    ):
        found = [u for u in uses if _standing(u) == standing]
        if found:
            told = (
                "every use that was measured" if len(found) == len(uses) > 1 else listed([USES[u.use] for u in found])
            )
            parts.append(f"{verb} {told}")
            if standing == "worse" and surest is not None:
                figure, variant = surest
                owner = f"{variant}: " if several else ""
                parts[-1] += f" (above all {owner}{labels.place(figure)}, {_size(figure)})"
    undecided = [u for u in uses if u.verdict == "undecided"]
    if undecided:
        factors = [u.more for v in names for u in variants[v] if u.verdict == "undecided"]
        times = max((factor for factor in factors if factor), default=0.0)
        cost = f" (about {times:.1f} times the items would decide)" if times and None not in factors else ""
        parts.append(
            f"{listed([USES[u.use] for u in undecided])} {'stays' if len(undecided) == 1 else 'stay'} undecided{cost}"
        )
    subject = f"Under {listed(names)}" if len(undecided) == len(uses) else listed(names)
    # The link leads to what the sentence names: one measure's panel, or the table where it speaks of several uses.
    shown = surest[0] if surest is not None else undecided[0].figures[0] if len(uses) == 1 else None
    anchor = VERDICTS if several or shown is None else anchor_of(shown)
    tone: Tone = "open" if surest is None else "worse"
    return Sentence(tone=tone, text=f"{name}{subject} {'; '.join(parts)}.", anchor=anchor)


def _surest(names: Sequence[str], variants: Mapping[str, Sequence[UseVerdict]]) -> tuple[Figure, str] | None:
    """Return the surest loss, and whose it is."""
    found = [(use.figures[0], v) for v in names for use in variants[v] if use.verdict == "worse"]
    return min(found, key=lambda pair: pair[0].p_adjusted or 0.0, default=None)


def _size(figure: Figure) -> str:
    paired, unit = figure.paired, figure.measure.unit
    assert paired is not None
    told = f"{difference(paired.estimate, unit)} {difference_unit(unit)} {bounds(paired.low, paired.high, unit)}"
    return f"{told}, n = {paired.n:,}"


def _floor(variants: Sequence[Variant], figures: Sequence[Figure], name: str) -> Sentence:
    placebos = [v for v in variants if v.placebo and v.gate == "passed"]
    if not placebos:
        what = "passed the integrity gate" if any(v.placebo for v in variants) else "was run"
        text = f"{name}No placebo variant {what}, so how much numerics alone move the measures is not known."
        return Sentence(tone="open", text=text, anchor=VERDICTS)
    names = {(v.model, v.name) for v in placebos}
    shown = [f for f in figures if (f.model, f.variant) in names and f.confirmatory and f.paired is not None]
    moved = [f for f in shown if f.paired is not None and f.paired.estimate]
    text = f"{name}Numerics alone ({listed([v.name for v in placebos])}) "
    if not moved:
        text += f"left every one of {counted(len(shown), 'confirmatory measure')} as it was."
        return Sentence(tone="open", text=text, anchor=FLOOR)
    largest = max(moved, key=lambda f: abs(f.loss) / f.margin if f.margin else 0.0)
    text += f"moved {counted(len(moved), 'confirmatory measure')} of {len(shown)}, most of all "
    text += f"{Labels(figures).place(largest)} ({_size(largest)}). A difference within that is not called a loss."
    return Sentence(tone="open", text=text, anchor=FLOOR)
