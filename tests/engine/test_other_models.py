"""Analyses that ask other models: who answers, what is asked once, what is kept, and what fails how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from compressed_lens.analyses.base import Analysis, Metric, Record, Steps, roles_of
from compressed_lens.engine import Engine, Job, MemoryCache
from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Answering, Ask, Embed, Message, Prompt, Read, Score, Trace, Traced
from compressed_lens.tasks.base import Item, Task, TaskKind

ITEMS = tuple(Item(id=str(i), fields={"text": f"Text {i}."}, answers=("a",)) for i in range(6))
TASK = Task(name="t", kind="classification", items=ITEMS, labels=("a", "b"))


@dataclass(frozen=True, kw_only=True)
class Both:
    """Puts the same question to the model under study and to another."""

    name: ClassVar[str] = "both"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = ()
    window: ClassVar[int] = 2
    judge: str = "full"
    kept: bool = True

    @property
    def roles(self) -> tuple[str, ...]:
        return ("self", self.judge, self.judge)

    def steps(self, task: Task, item: Item) -> Steps:
        prompt = Prompt(messages=(Message(role="user", content=item.fields["text"]),))
        request = Trace(prompt=prompt, continuation="a b", keep=self.kept)
        mine, theirs = yield [request, Ask(to=self.judge, request=request)]
        assert isinstance(mine, Traced)
        assert isinstance(theirs, Traced)
        return Record(values={"mine": list(mine.log_probabilities), "theirs": list(theirs.log_probabilities)})


class Counting:
    """A model that counts the requests it executes; otherwise the one it stands for."""

    def __init__(self, model: HFModel) -> None:
        self._model = model
        self.asked = 0
        self.fingerprint = model.fingerprint
        self.encode = model.encode

    def trace(self, requests: Any, **kwargs: Any) -> Any:
        self.asked += len(requests)
        return self._model.trace(requests, **kwargs)


@pytest.fixture(scope="module")
def reference() -> HFModel:
    return HFModel.load(locate_model("reference"), device="cpu")


@pytest.fixture(scope="module")
def other(reference: HFModel) -> HFModel:
    return HFModel.load(locate_model("planted-honest"), device="cpu")


def ask(analysis: Analysis, model: Answering, others: Any, cache: Any = None) -> dict[str, Record]:
    found: dict[str, Record] = {}
    engine = Engine(model, cache=cache, others=others)
    jobs = [Job(key=item.id, analysis=analysis, task=TASK, item=item) for item in ITEMS]
    engine.run(jobs, lambda job, record: found.__setitem__(job.item.id, record))
    return found


def test_each_model_answers_what_is_put_to_it(reference: HFModel, other: HFModel) -> None:
    opened: list[str] = []
    found = ask(Both(), reference, lambda name: opened.append(name) or other)
    assert opened == ["full"]
    prompt = Prompt(messages=(Message(role="user", content="Text 3."),))
    for values, model in ((found["3"].values["mine"], reference), (found["3"].values["theirs"], other)):
        (alone,) = model.trace([Trace(prompt=prompt, continuation="a b")])
        assert values == pytest.approx(alone.log_probabilities, abs=1e-4)
    assert found["3"].values["mine"] != found["3"].values["theirs"]
    assert roles_of(Both()) == ("full",)


def test_the_same_model_under_two_names_is_asked_once(reference: HFModel) -> None:
    counting = Counting(reference)
    found = ask(Both(), counting, lambda name: counting)
    assert counting.asked == len(ITEMS)
    assert all(record.values["mine"] == record.values["theirs"] for record in found.values())


def test_a_judge_is_asked_once_for_all_variants(reference: HFModel, other: HFModel) -> None:
    judge, cache = Counting(other), MemoryCache()
    first = ask(Both(judge="j"), reference, lambda name: judge, cache)
    again = ask(Both(judge="j"), other, lambda name: judge, cache)
    assert judge.asked == len(ITEMS)
    assert [r.values["theirs"] for r in first.values()] == [r.values["theirs"] for r in again.values()]


def test_probes_are_not_kept(reference: HFModel, other: HFModel) -> None:
    kept, dropped = MemoryCache(), MemoryCache()
    ask(Both(), reference, lambda name: other, kept)
    ask(Both(kept=False), reference, lambda name: other, dropped)
    assert len(kept._responses) == 2 * len(ITEMS)
    assert dropped._responses == {}


def test_a_missing_model_and_a_model_that_cannot_are_reasons(reference: HFModel) -> None:
    found = ask(Both(judge="nobody"), reference, None)
    assert {record.failed for record in found.values()} == {
        "An analysis asks the model 'nobody', and there is none of that name."
    }

    class Silent:
        fingerprint = "x"

        def encode(self, prompt: Prompt) -> list[int]:
            return [1]

    found = ask(Both(judge="mute"), reference, lambda name: Silent())
    assert all((record.failed or "").startswith("The model 'mute' cannot trace.") for record in found.values())


def test_a_judge_that_cannot_be_opened_fails_no_item(reference: HFModel, other: HFModel) -> None:
    def closed(name: str) -> Answering:
        raise ModelError("The key is not set.")

    found: list[Record] = []
    jobs = [Job(key=item.id, analysis=Both(), task=TASK, item=item) for item in ITEMS]
    with pytest.raises(ModelError, match="The key is not set"):
        Engine(reference, others=closed).run(jobs, lambda job, record: found.append(record))
    assert found == []
    assert len(ask(Both(), reference, lambda name: other)) == len(ITEMS)


def test_texts_without_a_prompt_have_keys_of_their_own(reference: HFModel) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Texts(Both):
        def steps(self, task: Task, item: Item) -> Steps:
            read, vector, other = yield [Read(text="one"), Embed(text="one"), Read(text="two")]
            prompt = Prompt(text="one")
            (score,) = yield [Score(prompt=prompt, continuations=("two",))]
            kinds = [type(answer).__name__ for answer in (read, vector, other, score)]
            return Record(values={"kinds": kinds, "same": read == other})

    found = ask(Texts(), reference, None)
    assert found["0"].values["kinds"] == ["Traced", "Embedding", "Traced", "Scores"]
    assert found["0"].values["same"] is False
