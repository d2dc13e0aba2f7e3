"""Tasks: data sets and how they are put to a model. One file a data set, one registration line each."""

from __future__ import annotations

from compressed_lens.registry import Registry
from compressed_lens.tasks.base import Item, Task, TaskSource
from compressed_lens.tasks.load import load_task

__all__ = ["REGISTRY", "Item", "Task", "TaskSource", "load_task"]

REGISTRY: Registry[TaskSource] = Registry("task", TaskSource, "compressed_lens.tasks")


def _add(name: str, target: str, summary: str, cost: str, source: str) -> None:
    REGISTRY.add(name, target, summary, cost=cost, source=source)


_HERE = "compressed_lens.tasks"
_TESTBED = "compressed_lens.testbed.tasks"
_add("testbed-reviews", f"{_TESTBED}:REVIEWS", "Sentiment of generated reviews, evidence known", "generated", "own")
_add(
    "testbed-pairs", f"{_TESTBED}:PAIRS", "Inference over generated sentence pairs, evidence known", "generated", "own"
)
_add("testbed-facts", f"{_TESTBED}:FACTS", "One-hop facts of the reference model's world", "generated", "own")
_add("testbed-twohop", f"{_TESTBED}:TWOHOP", "Two-hop chains of the reference model's world", "generated", "own")
_add("esnli", f"{_HERE}.esnli:ESNLI", "Natural language inference, human explanations", "9,824 items", "Camburu 2018")
_add("agnews", f"{_HERE}.agnews:AG_NEWS", "Topic of a news text", "7,600 items", "Zhang 2015")
_add("healthfc", f"{_HERE}.healthfc:HEALTHFC", "Health claim against evidence", "750 items", "Vladika 2024")
_add(
    "ecqa", f"{_HERE}.ecqa:ECQA", "Commonsense question with five options, explanations", "1,090 items", "Aggarwal 2021"
)
_add("lre", f"{_HERE}.relations:LRE", "One-hop facts: subject, relation, object", "9,696 items", "Hernandez 2023")
_add("twohopfact", f"{_HERE}.twohopfact:TWO_HOP_FACT", "Two-hop chains of facts", "45,595 items", "Yang 2024")
_add("relations-twohop", f"{_HERE}.chains:RELATIONS_TWOHOP", "Two-hop chains of LRE facts", "2,334 items", "own")
_add("counterfact", f"{_HERE}.counterfact:COUNTERFACT", "Facts with a false rival", "21,919 items", "Meng 2022")
_add("pararel", f"{_HERE}.pararel:PARAREL", "One-hop facts in many wordings", "27,610 items", "Elazar 2021")
_add("triples", f"{_HERE}.triples:TRIPLES", "Your own facts: subject, relation, object", "yours", "you")
_add(
    "custom",
    f"{_HERE}.custom:CUSTOM",
    "Your own labelled texts: CSV, JSONL or Parquet with a field mapping",
    "yours",
    "you",
)
