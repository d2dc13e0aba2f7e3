"""How far a study is, and the agreement of its raters so far."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.human.small import CHECK, GOOD, blinded

from compressed_lens.human.store import HumanStore, Step
from compressed_lens.rater_app.progress import agreement, progress
from compressed_lens.statistics.agreement import krippendorff_alpha

STEPS: tuple[Step, ...] = ("consent", "instructions", "comprehension", "rating")


def test_progress_counts_what_there_is(database_url: str) -> None:
    with HumanStore.create(database_url, blinded(raters=4, pages=6)) as store:
        before = progress(store)
        assert before.agreement == () and all(one.seconds is None for one in before.raters)
        for rater in ("R01", "R02"):
            for step, to in zip(STEPS, STEPS[1:], strict=False):
                assert store.move(rater, step=step, to=to)
            for position in (1, 2, CHECK):
                store.save(rater, position, values=GOOD, comment="=1+1", seconds=position, form=f"f{position}")
        store.note("one")
        store.note("two")
        now = progress(store, new_link=("R01", "http://x"))
        first = now.raters[0]
        assert (first.checks, first.failed, first.seconds) == (1, 1, 2.0)
        store.withdraw("R03")
        assert [one.state for one in progress(store).raters] == ["rating", "rating", "withdrawn", "unopened"]
        assert sum(cell.ratings for cell in now.cells) == 4 and sum(cell.wanted for cell in now.cells) == 20
        assert all(one.alpha is None and one.texts == 0 for one in now.agreement), "no text has two ratings"
        assert [what for _, what, _ in now.incidents][:2] == ["two", "one"] and now.new_link == ("R01", "http://x")


def test_agreement_is_that_of_the_statistics() -> None:
    rng = np.random.default_rng(0)
    rows, table = [], np.full((6, 20), np.nan)
    for text in range(20):
        for rater in rng.choice(6, 2, replace=False):
            table[rater, text] = point = int(rng.integers(1, 6))
            rows.append({"rater": f"R{rater}", "text": f"t{text}", "kind": "explanation", "check": False,
                         "values": f'{{"coherence": {point}}}'})  # fmt: skip
    rows.append({"rater": "R1", "text": None, "kind": None, "check": True, "values": '{"coherence": 1}'})
    (found,) = agreement(pl.DataFrame(rows), ["coherence"])
    assert found.texts == 20 and found.alpha is not None
    assert found.alpha.estimate == pytest.approx(krippendorff_alpha(table), abs=1e-12)
    same = [{**row, "values": '{"coherence": 3}'} for row in rows]
    (none,) = agreement(pl.DataFrame(same), ["coherence"])
    assert none.alpha is None, "all ratings the same tell nothing of agreement"
