"""The code in docs/tasks.md and docs/analyses.md runs as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from compressed_lens.analyses.base import Analysis
from compressed_lens.lm.protocol import Generation
from compressed_lens.tasks.base import Item, Selection, Task

DOCS = Path(__file__).resolve().parents[2] / "docs"


def printed(page: str) -> dict[str, Any]:
    """Run the last Python block of a page; names it uses but does not import are those of the modules it speaks of."""
    from compressed_lens.analyses import base as analyses_base
    from compressed_lens.explanations import prompting
    from compressed_lens.lm import protocol
    from compressed_lens.tasks import base as tasks_base
    from compressed_lens.tasks import classification

    code = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[-1]
    names: dict[str, Any] = {"prompting": prompting, "__name__": __name__}
    for module in (protocol, tasks_base, classification, analyses_base):
        names.update(vars(module))
    names.pop("annotations", None)
    exec(compile(code, page, "exec"), names)  # noqa: S102
    return names


def test_the_printed_data_set(tmp_path: Path) -> None:
    path = tmp_path / "mood.csv"
    path.write_text("sentence,why,label\nFine.,It says so.,1\n")
    content = printed("tasks.md")["MOOD"].read(Selection(path=str(path)))
    assert [(i.fields, i.answers, i.references) for i in content.items] == [
        ({"text": "Fine."}, ("positive",), ("It says so.",))
    ]


def test_the_printed_analysis() -> None:
    analysis = printed("analyses.md")["Length"](max_new_tokens=5)
    assert isinstance(analysis, Analysis)
    task = Task(
        name="t", kind="classification", items=(Item(id="1", fields={"t": "x"}, answers=("a",)),), labels=("a",)
    )
    steps = analysis.steps(task, task.items[0])
    assert next(steps)[0].max_new_tokens == 5
    try:
        steps.send([Generation(text="x", tokens=3, finished=True)])
    except StopIteration as end:
        assert end.value.values == {"tokens": 3}
    else:
        raise AssertionError("the analysis asked again")
