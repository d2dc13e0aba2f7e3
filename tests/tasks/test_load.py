"""Limits, identities and fingerprints, for every source alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.errors import LensError, StudyError
from compressed_lens.tasks import REGISTRY, Item, Task, TaskSource, load_task
from compressed_lens.tasks.base import fingerprint
from compressed_lens.tasks.load import sample

Write = Callable[[str, list[dict[str, Any]]], Path]
items_of = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 999)), unique=True, min_size=1, max_size=60)


def made(keys: list[tuple[str, int]]) -> tuple[Item, ...]:
    return tuple(Item(id=f"{g}{n}", fields={"prompt": "x"}, answers=("y",), group=g) for g, n in keys)


@given(keys=items_of, limit=st.integers(1, 70), seed=st.integers(0, 3))
def test_a_sample_is_nested_ordered_and_shared_out(keys: list[tuple[str, int]], limit: int, seed: int) -> None:
    items = made(keys)
    kept = sample(items, limit, seed)
    assert len(kept) == min(limit, len(items))
    assert list(kept) == [i for i in items if i in kept]
    assert {i.id for i in kept} <= {i.id for i in sample(items, limit + 1, seed)}
    groups = Counter(i.group for i in items)
    if limit >= len(groups):
        assert {i.group for i in kept} == set(groups)
        share = Counter(i.group for i in kept)
        assert all(abs(share[g] - n * len(kept) / len(items)) < len(groups) for g, n in groups.items())


@given(keys=items_of, limit=st.integers(1, 20), seed=st.integers(0, 3))
def test_an_added_row_moves_no_other(keys: list[tuple[str, int]], limit: int, seed: int) -> None:
    items = tuple(replace(i, group="") for i in made(keys))
    new = Item(id="new", fields={"prompt": "x"}, answers=("y",))
    before, after = sample(items, limit, seed), sample((*items, new), limit, seed)
    assert {i.id for i in after} - {"new"} <= {i.id for i in before}


def test_another_seed_draws_others_and_none_takes_the_first() -> None:
    items = made([("a", n) for n in range(100)])
    draws = {tuple(i.id for i in sample(items, 10, seed)) for seed in range(5)}
    assert len(draws) == 5
    assert sample(items, 10, None) == items[:10]


@pytest.fixture
def table(write: Write) -> Path:
    return write("x.csv", [{"premise": f"p{n}", "hypothesis": f"h{n}", "label": n % 3} for n in range(9)])


def test_ids_do_not_depend_on_the_limit(table: Path) -> None:
    whole = {i.id: i for i in load_task("esnli", path=str(table)).items}
    part = load_task("esnli", path=str(table), limit=4).items
    assert all(whole[i.id] == i for i in part)


def test_the_fingerprint_follows_content_not_place(table: Path, tmp_path: Path) -> None:
    first = load_task("esnli", path=str(table))
    copy = tmp_path / "elsewhere" / "y.csv"
    copy.parent.mkdir()
    copy.write_bytes(table.read_bytes())
    assert load_task("other", source="esnli", path=str(copy)).fingerprint == first.fingerprint
    others = [
        load_task("esnli", path=str(table), limit=4),
        load_task("esnli", path=str(table), instruction="Say which."),
        load_task("esnli", path=str(table), labels=["yes", "maybe", "no"]),
    ]
    assert len({first.fingerprint, *(t.fingerprint for t in others)}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "recall"},
        {"labels": ("b", "a")},
        {"instruction": "i"},
        {"edit_field": "f"},
        {"targets": {"a": "b"}},
        {"candidates": {"g": ("o",)}},
        {"items": (Item(id="2", fields={"t": "x"}, answers=("a",)),)},
        {"items": (Item(id="1", fields={"t": "y"}, answers=("a",)),)},
        {"items": (Item(id="1", fields={"t": "x"}, answers=("b",)),)},
        {"items": (Item(id="1", fields={"t": "x"}, answers=("a",), references=("r",)),)},
        {"items": (Item(id="1", fields={"t": "x"}, answers=("a",), choices=("a",)),)},
        {"items": (Item(id="1", fields={"t": "x"}, answers=("a",), group="g"),)},
        {"items": (Item(id="1", fields={"t": "x"}, answers=("a",), extra={"e": 1}),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_shapes_prompts_or_scores_enters_the_fingerprint(change: dict[str, Any]) -> None:
    base = Task(
        name="t", kind="classification", items=(Item(id="1", fields={"t": "x"}, answers=("a",)),), labels=("a", "b")
    )
    assert fingerprint(replace(base, **change)) != fingerprint(base)
    assert fingerprint(replace(base, name="u", notes="n", rejected=(("r", "s"),))) == fingerprint(base)


def test_field_order_enters_the_fingerprint() -> None:
    def task(**fields: str) -> Task:
        return Task(name="t", kind="classification", items=(Item(id="1", fields=fields, answers=("a",)),))

    assert fingerprint(task(a="1", b="2")) != fingerprint(task(b="2", a="1"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "esnil"}, "Unknown task 'esnil'. Did you mean 'esnli'?"),
        ({"name": "lre", "options": {"stile": "question"}}, "no option 'stile'. Did you mean 'style'?"),
        ({"name": "lre", "path": ".", "options": {"style": "chat"}}, "style cannot be 'chat'. One of: completion"),
        ({"name": "lre", "path": ".", "options": {"accept": "all"}}, "accept cannot be 'all'"),
        ({"name": "lre", "path": ".", "options": {"template": -1}}, "template cannot be '-1'"),
        ({"name": "lre", "path": ".", "options": {"relations": "person_mother"}}, "relations is a list"),
        ({"name": "lre", "path": ".", "labels": ["a"]}, "take no `labels`"),
        ({"name": "ecqa", "path": ".", "labels": ["a"]}, "ECQA takes no `labels`"),
        ({"name": "twohopfact", "path": ".", "options": {"hop": "third"}}, "hop cannot be 'third'"),
        ({"name": "custom"}, "A custom task needs a `path`."),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_task(**settings)
    assert message in str(caught.value)


def test_every_source_is_registered_with_its_particulars() -> None:
    for name in REGISTRY.names():
        entry = REGISTRY.entries[name]
        assert entry.summary and entry.cost and entry.source
        try:
            assert isinstance(REGISTRY.get(name), TaskSource)
        except LensError as error:
            pytest.fail(f"{name}: {error}")
