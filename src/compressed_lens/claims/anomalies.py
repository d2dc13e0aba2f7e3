"""Claims on single cells of Table 1 of 2601.00282 that look like faults, and statements without a number."""

from __future__ import annotations

from statistics import median

from compressed_lens.claims.claim import FIRST_VERSION, SELF_EXPLANATIONS, Part, Recomputed, claim, unpublished
from compressed_lens.claims.own_explanations import eight_bit_kernels, hours, rewrites
from compressed_lens.claims.published import TABLE_ONE, Published, select, signs
from compressed_lens.comparison.series import FULL

_SIBLINGS = ("Qwen2.5-7B", "Qwen2.5-14B", "Qwen2.5-72B")
_OUTLIER = "Qwen2.5-32B"
_LEVELS = ("nle_esnli_bart", "nle_hfc_bart", "nle_hfc_tiger")


@claim(
    id="se-32b-outlier",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 4",
    statement="Qwen2.5-32B at full precision is itself an outlier in NLE quality: -7.68 and -8.17 BARTScore where its "
    "siblings have about -6.5 and -4.2.",
    stated=-7.68,
    unit="nats",
    mark="D",
    uses=(TABLE_ONE,),
    formula="distance of the cell from the median of 7B, 14B and 72B, in ranges of those three; follows if it lies "
    "outside their range by more than its width in every column.",
)
def outlier_of_32b(tables: Published) -> Recomputed:
    """Hold 32B's full precision to its siblings'."""
    parts, far = [], []
    for column in _LEVELS:
        siblings = [tables.cell(TABLE_ONE, model, FULL, column) for model in _SIBLINGS]
        value = tables.cell(TABLE_ONE, _OUTLIER, FULL, column)
        far.append((min(siblings) - value) / (max(siblings) - min(siblings)))
        parts.append(Part(name=f"{column}: full precision", value=value, low=min(siblings), high=max(siblings)))
    changes = [c for c in select(tables.table_one, columns=_LEVELS) if c.model == _OUTLIER]
    better, worse, _ = signs(changes)
    return Recomputed(
        follows="follows" if min(far) > 1 else "does not follow",
        value=median(far),
        unit="ranges of the siblings below the lowest",
        parts=tuple(parts),
        why=f"Its quantized cells are better than it in {better} and worse in {worse} of {len(changes)} cells, so "
        "what looks like an effect of quantization there may be empty or malformed texts. No failure counts are "
        "published.",
    )


@claim(
    id="se-7b-bib8-outlier",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 4",
    statement="BARTScore of Qwen2.5-7B under bib8 on HealthFC, -7.84, is an outlier, too.",
    stated=-7.84,
    unit="nats",
    mark="D",
    uses=(TABLE_ONE,),
    formula="the cell against the same model and quantizer on e-SNLI and the other quantizers on HealthFC; follows if "
    "it is the lowest of its row of precisions by more than their own range.",
)
def outlier_of_bib8(tables: Published) -> Recomputed:
    """Hold the cell to the other precisions of the model."""
    precisions = (FULL, "bib4", "gptq4", "gptq8", "awq")
    others = [tables.cell(TABLE_ONE, "Qwen2.5-7B", name, "nle_hfc_bart") for name in precisions]
    value = tables.cell(TABLE_ONE, "Qwen2.5-7B", "bib8", "nle_hfc_bart")
    return Recomputed(
        follows="follows" if min(others) - value > max(others) - min(others) else "does not follow",
        value=min(others) - value,
        unit="nats below the next lowest",
        parts=tuple(Part(name=name, value=v, unit="nats") for name, v in zip(precisions, others, strict=True)),
        why=f"bib8 is {max(others) - value:.2f} below the best of the row and {min(others) - value:.2f} below gptq8, "
        f"itself low; the other five span {max(others) - min(others):.2f}. Low it is, but it does not stand alone.",
    )


@claim(
    id="se-rewritten-texts",
    paper=SELF_EXPLANATIONS,
    section="2.12 no. 5",
    statement="Llama3-8B on AG News changes 1.2 to 1.6 words a word of the original: its flips are rewrites, not "
    "edits.",
    mark="D",
    uses=(TABLE_ONE,),
    formula="TS of every Llama3-8B cell on AG News; follows if all exceed 1 and no other cell of the table does.",
    own=rewrites,
)
def rewritten_texts(tables: Published) -> Recomputed:
    """Find the cells whose distance exceeds the length of the original."""
    frame = tables.frames[TABLE_ONE]
    cells = [
        (model, variant, column, frame[column][row])
        for row, (model, variant) in enumerate(zip(frame["model"], frame["prec"], strict=True))
        for column in ("cfe_esnli_ts", "cfe_ag_ts")
    ]
    large = [cell for cell in cells if cell[3] > 1]
    here = {(model, column) for model, _, column, _ in large} == {("Llama3-8B", "cfe_ag_ts")}
    best = tables.cell(TABLE_ONE, "Llama3-8B", "gptq4", "cfe_ag_lfr")
    return Recomputed(
        follows="follows" if here and len(large) == 5 else "does not follow",  # noqa: PLR2004 - its five precisions
        value=min(value for *_, value in large),
        unit="words changed a word",
        parts=tuple(Part(name=f"{model} {variant}", value=value) for model, variant, _, value in large),
        why=f"Its label flip rate of {best:.1f} % under gptq4, the highest of the data set, goes with the largest "
        "distance. A flip rate says something only together with the distance.",
    )  # fmt: skip


@claim(
    id="cl-v1-mixed",
    paper=FIRST_VERSION,
    section="4",
    statement="The direction of the effect is not constant: it depends on quantizer, explanation method and "
    "evaluation.",
    mark="A",
    uses=(TABLE_ONE,),
    formula="columns and quantizers of Table 1 of 2601.00282 with both better and worse cells; follows if all have "
    "both.",
)
def mixed(tables: Published) -> Recomputed:
    """Count the columns and quantizers whose cells go both ways."""
    columns = dict.fromkeys(c.column for c in tables.table_one)
    quantizers = dict.fromkeys(c.variant for c in tables.table_one)
    by_column = {name: signs([c for c in tables.table_one if c.column == name]) for name in columns}
    by_quantizer = {name: signs([c for c in tables.table_one if c.variant == name]) for name in quantizers}
    both = [min(better, worse) > 0 for better, worse, _ in (*by_column.values(), *by_quantizer.values())]
    return Recomputed(
        follows="follows" if all(both) else "does not follow",
        value=sum(both),
        unit=f"of {len(both)} columns and quantizers",
        parts=tuple(
            Part(name=f"{name}: better cells of {sum(counts)}", value=counts[0], unit="cells")
            for name, counts in by_quantizer.items()
        ),
        why="Every column and every quantizer has cells of both signs, in the later paper's own table.",
    )


CLAIMS = (
    outlier_of_32b,
    outlier_of_bib8,
    rewritten_texts,
    unpublished(
        id="se-weight-only", paper=SELF_EXPLANATIONS, section="2.3; 8 no. 8", mark="A",
        statement="bitsandbytes at 8 bits is weight-only quantization.", own=eight_bit_kernels,
        why="A property of the library, not of a cell: by default LLM.int8() rounds the activations of all columns "
        "but outliers, too. The threshold that was used is not stated.",
    ),
    unpublished(
        id="se-advice", paper=SELF_EXPLANATIONS, section="2.11 no. 13", mark="A",
        statement="Validate self-explanations for each use, NLEs above all; the decline does not rule quantization "
        "out.",
        why="Advice. How much decline a use can bear is its user's to say: see the margins of a study.",
    ),
    unpublished(
        id="se-conjectures", paper=SELF_EXPLANATIONS, section="2.11 no. 14", mark="A",
        statement="Shifted calibration and rounding explain lost coherence; gains may come from dropped spurious cues.",
        why="The authors' conjectures; no cell speaks for or against them.",
    ),
    unpublished(
        id="se-compute", paper=SELF_EXPLANATIONS, section="2.11 no. 15", mark="A", stated=10, unit="hours",
        statement="All explanations are generated within 10 hours on A100 or H100.",
        why="Times of single cells are not published.", own=hours,
    ),
    mixed,
)  # fmt: skip
