"""Shares of a text's tokens, and how alike two vectors of shares are, against SciPy and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import spatial, special, stats

from compressed_lens.explanations.sources import Unusable
from compressed_lens.faithfulness.contributions import Target, account, ask_contributions, compare
from compressed_lens.faithfulness.masking import pieces_of
from compressed_lens.faithfulness.owen import exact
from compressed_lens.lm.protocol import Ask, Prompt, Trace, Traced
from compressed_lens.tasks.base import Item

ITEM = Item(id="1", fields={"text": "one two"}, answers=("a",))


def test_shares_are_means_of_signed_percentages() -> None:
    values = np.array([[3.0, 0.0], [-1.0, 2.0], [0.0, 2.0]])
    found = account(values, floor=0.0)
    np.testing.assert_allclose(found.shares, [75 / 2, (-25 + 50) / 2, 50 / 2])
    assert (found.tokens, found.weak) == (2, 0)


def test_tokens_below_the_floor_are_left_out_and_counted() -> None:
    values = np.array([[3.0, 0.004, 0.0], [-1.0, -0.004, 0.0]])
    found = account(values, floor=0.01)
    np.testing.assert_allclose(found.shares, [75, -25])
    assert (found.tokens, found.weak) == (3, 2)
    unfloored = account(values, floor=0.0)
    np.testing.assert_allclose(unfloored.shares, [62.5, -37.5])
    assert unfloored.weak == 1
    nothing = account(values[:, 2:], floor=0.0)
    assert not nothing.shares.any()
    assert (nothing.tokens, nothing.weak) == (1, 1)
    assert account(np.zeros((4, 0)), floor=0.0).weak == 0


@pytest.mark.parametrize("seed", range(5))
def test_likeness_against_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(scale=3, size=(2, 9))
    found = compare(a, b)
    assert found.cosine == pytest.approx(1 - spatial.distance.cosine(a, b))
    assert found.correlation == pytest.approx(stats.pearsonr(a, b).statistic)
    assert found.squared_error == pytest.approx(np.mean((a - b) ** 2))
    p, q = special.softmax(a), special.softmax(b)
    assert found.kl == pytest.approx(stats.entropy(q, p))
    assert found.js == pytest.approx(spatial.distance.jensenshannon(p, q))


def test_identical_and_opposite_shares() -> None:
    shares = np.array([60.0, -30.0, 10.0])
    same = compare(shares, shares)
    assert (same.cosine, same.correlation) == (pytest.approx(1), pytest.approx(1))
    assert (same.squared_error, same.kl, same.js) == (0, 0, 0)
    assert compare(shares, 2 * shares).cosine == pytest.approx(1)
    assert compare(shares, -shares).cosine == pytest.approx(-1)
    far = compare(np.array([100.0, -100.0]), np.array([-100.0, 100.0]))
    assert far.kl == pytest.approx(200)
    assert far.js == pytest.approx(np.sqrt(np.log(2)))


def test_no_contribution_is_undefined() -> None:
    found = compare(np.zeros(3), np.ones(3))
    assert {found.cosine, found.correlation, found.squared_error, found.kl, found.js} == {None}
    assert compare(np.ones(3), np.array([1.0, 2.0, 0.0])).correlation is None


def target(**settings: object) -> Target:
    return Target(prompt=lambda item: Prompt(text=item.fields["text"]), continuation="yes", **settings)  # type: ignore[arg-type]


def test_targets_are_asked_about_side_by_side() -> None:
    steps = ask_contributions(pieces_of(ITEM), [target(first=True), target(to="full", keep=True)], exact)
    asked = next(steps)
    own, other = asked[:4], asked[4:]
    texts = {r.prompt.text for r in own if isinstance(r, Trace)}
    assert texts == {"one two", "...", "one ...", "... two"}
    assert all(isinstance(r, Trace) and not r.keep and r.continuation == "yes" for r in own)
    assert all(isinstance(r, Ask) and r.to == "full" and isinstance(r.request, Trace) and r.request.keep for r in other)

    def odds(text: str | None) -> Traced:
        value = {"one two": 8.0, "one ...": 4.0, "... two": 1.0, "...": 0.0}[str(text)]
        return Traced(log_probabilities=(-1.0, -1.0), log_odds=(value, 2 * value))

    requests = [r.request if isinstance(r, Ask) else r for r in asked]
    with pytest.raises(StopIteration) as end:
        steps.send([odds(r.prompt.text) for r in requests if isinstance(r, Trace)])
    first, both = end.value.value
    np.testing.assert_allclose(first.values, [[5.5], [2.5]])
    np.testing.assert_allclose(both.values, [[5.5, 11.0], [2.5, 5.0]])
    assert (first.evaluations, both.evaluations) == (4, 4)


@pytest.mark.parametrize(
    ("odds", "reason"),
    [((1.0, 2.0), "changes the number of tokens"), ((float("nan"),), "no finite"), ((float("inf"),), "no finite")],
)
def test_what_cannot_be_explained_fails_the_item(odds: tuple[float, ...], reason: str) -> None:
    steps = ask_contributions(pieces_of(ITEM), [target()], exact)
    fine = Traced(log_probabilities=(-1.0,), log_odds=(1.0,))
    next(steps)
    with pytest.raises(Unusable, match=reason):
        steps.send([fine, Traced(log_probabilities=(-1.0,), log_odds=odds), fine, fine])


def test_an_item_without_words_fails() -> None:
    with pytest.raises(Unusable, match="nothing to mask"):
        next(ask_contributions(pieces_of(Item(id="1", fields={"text": ""}, answers=("a",))), [target()], exact))
