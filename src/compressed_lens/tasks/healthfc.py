"""HealthFC: health claims against evidence (Vladika et al. 2024). Read at run time only; CC BY-NC-ND 4.0."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from compressed_lens.tasks.base import Content, Selection, TaskSource
from compressed_lens.tasks.classification import Columns, Table, read_labelled
from compressed_lens.tasks.rows import Row

# In the order of the data's numbers 0, 1, 2.
LABELS = ("supported", "not enough information", "refuted")
# The paper makes no counterfactuals of HealthFC; this map follows the one of natural language inference.
TARGETS = {"supported": "refuted", "refuted": "supported", "not enough information": "refuted"}

_CLAIM = ("en_claim", "claim", "question")
_READY = Columns(
    fields={"claim": _CLAIM, "evidence": ("en_top_sentences", "evidence")}, references=("en_explanation", "explanation")
)
_ARTICLE = Columns(fields={"claim": _CLAIM, "evidence": ("en_sentences", "sentences")}, references=_READY.references)
_IDS = ("en_ids", "ids")


def _layout(names: Sequence[str]) -> Columns:
    return _ARTICLE if any(name in names for name in _ARTICLE.fields["evidence"]) else _READY


def _listed(text: str) -> list[str] | None:
    """Return a Python list written as text; None when it is not one."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return [str(v) for v in value] if isinstance(value, list) else None


def _texts(table: Table, row: Row) -> dict[str, str] | str:
    fields = table.texts(row)
    if isinstance(fields, str):
        return fields
    sentences = _listed(fields["evidence"])
    wanted = _listed(next((row.text(c) for c in _IDS if row.text(c)), ""))
    if sentences is None:
        return fields
    if wanted is not None:
        if not all(n.isdigit() and int(n) < len(sentences) for n in wanted):
            return f"evidence ids {wanted} do not fit {len(sentences)} sentences"
        sentences = [sentences[int(n)] for n in wanted]
    evidence = " ".join(s.strip() for s in sentences).strip()
    return {**fields, "evidence": evidence} if evidence else "empty evidence"


def read(selection: Selection) -> Content:
    """Read HealthFC: claim and gold evidence sentences (`en_sentences` at `en_ids`, or `en_top_sentences`)."""
    return read_labelled(
        selection,
        _layout,
        LABELS,
        hub="jvladika/HealthFC",
        home="https://github.com/jvladika/HealthFC",
        texts=_texts,
    )


HEALTHFC = TaskSource(
    kind="classification",
    read=read,
    labels=LABELS,
    instruction="Decide whether the evidence supports the health claim, refutes it, or is not enough information.",
    edit_field="claim",
    targets=TARGETS,
)
