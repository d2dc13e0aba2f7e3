"""e-SNLI: natural language inference with human explanations (Camburu et al. 2018)."""

from __future__ import annotations

from compressed_lens.tasks.base import Content, Selection, TaskSource
from compressed_lens.tasks.classification import Columns, read_labelled

LABELS = ("entailment", "neutral", "contradiction")
TARGETS = {"entailment": "contradiction", "contradiction": "entailment", "neutral": "contradiction"}

_COLUMNS = Columns(
    fields={"premise": ("premise", "sentence1"), "hypothesis": ("hypothesis", "sentence2")},
    id=("pairID", "idx", "id"),
    references=(
        "explanation", "explanation_1", "explanation_2", "explanation_3",
        "Explanation_1", "Explanation_2", "Explanation_3", "preproc1_expl_2", "preproc1_expl_3",
    ),
)  # fmt: skip


def read(selection: Selection) -> Content:
    """Read e-SNLI in the form of its authors (CSV), of the hub, or of ../shared/data/esnli_test."""
    return read_labelled(
        selection, _COLUMNS, LABELS, hub="esnli/esnli", home="https://github.com/OanaMariaCamburu/e-SNLI"
    )


ESNLI = TaskSource(
    kind="classification",
    read=read,
    labels=LABELS,
    instruction="Decide whether the premise entails the hypothesis, contradicts it, or leaves it open (neutral).",
    edit_field="hypothesis",
    targets=TARGETS,
)
