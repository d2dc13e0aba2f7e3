"""The engine with a real model: order, duplicates, failures, cache, interruption, and two models side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from compressed_lens.analyses.base import Analysis, Metric, Record, Steps
from compressed_lens.engine import Engine, Job, Ledger, MemoryCache
from compressed_lens.engine.cache import pack_response, request_key, unpack_response
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import Generate, Generation, LanguageModel, Message, Prompt, Score, Scores, Trace
from compressed_lens.tasks.base import Item, Task, TaskKind

LABELS = ("good", "bad", "neither of the two")


@dataclass(frozen=True, kw_only=True)
class Label:
    """One request: the most likely label."""

    name: ClassVar[str] = "label"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = ()

    def steps(self, task: Task, item: Item) -> Steps:
        (scores,) = yield [Score(prompt=question(item), continuations=task.labels)]
        assert isinstance(scores, Scores)
        return Record(values={"scores": list(scores.log_probabilities)})


@dataclass(frozen=True, kw_only=True)
class LabelThenWhy:
    """Two steps, the second made of the first one's outcome; some items end early, some fail."""

    name: ClassVar[str] = "why"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = ()
    fails_at: str = ""

    def steps(self, task: Task, item: Item) -> Steps:
        if item.id.endswith("0"):
            return Record(values={}, failed="has no text")
        (scores,) = yield [Score(prompt=question(item), continuations=task.labels)]
        assert isinstance(scores, Scores)
        best = task.labels[scores.log_probabilities.index(max(scores.log_probabilities))]
        if item.id == self.fails_at:
            raise KeyError(best)
        why = Prompt(messages=(*question(item).messages, Message(role="assistant", content=best), user("Why?")))
        answer, again = yield [Generate(prompt=why, max_new_tokens=4), Generate(prompt=why, max_new_tokens=4)]
        assert isinstance(answer, Generation)
        assert answer == again
        return Record(values={"label": best, "why": answer.text})


def user(text: str) -> Message:
    return Message(role="user", content=text)


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Traces after every cut of an item's text, of very unequal length."""

    name: ClassVar[str] = "cuts"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = ()

    @staticmethod
    def asked(item: Item) -> list[Trace]:
        (message,) = question(item).messages
        words = f"{item.id} {message.content} a man walks his dog in the park".split()
        return [Trace(prompt=Prompt(text=" ".join(words[:n])), continuation="good") for n in range(1, len(words))]

    def steps(self, task: Task, item: Item) -> Steps:
        answers = yield list(self.asked(item))
        return Record(values={"traced": len(answers)})


def question(item: Item) -> Prompt:
    return Prompt(messages=(user(item.fields["text"]),))


def make_task(count: int = 23, *, words: Callable[[int], str] = lambda i: "so " * (i % 5)) -> Task:
    items = tuple(
        Item(id=f"item-{i}", fields={"text": f"Film {i}: {words(i)}good?"}, answers=("good",)) for i in range(count)
    )
    return Task(name="films", kind="classification", items=items, labels=LABELS)


def make_jobs(task: Task, *analyses: Analysis) -> list[Job]:
    return [Job(key=f"{a.name}/{i.id}", analysis=a, task=task, item=i) for a in analyses for i in task.items]


def collect(engine: Engine, jobs: Sequence[Job], **kwargs: Any) -> dict[Any, Record]:
    found: dict[Any, Record] = {}

    def keep(job: Job, record: Record) -> None:
        assert job.key not in found
        found[job.key] = record

    engine.run(jobs, keep, **kwargs)
    return found


def alone(model: LanguageModel, job: Job) -> Record:
    """The same analysis driven by hand, one request at a time."""
    steps = job.analysis.steps(job.task, job.item)
    try:
        requests = next(steps)
        while True:
            answers: list[Any] = [
                model.generate([r])[0] if isinstance(r, Generate) else model.score([r])[0] for r in requests
            ]
            requests = steps.send(answers)
    except StopIteration as end:
        assert isinstance(end.value, Record)
        return end.value


class Recording:
    """A cache that can be stopped after some commits, as a killed process would be."""

    def __init__(self, commits: int | None = None) -> None:
        self.inner = MemoryCache()
        self.left = commits
        self.committed: list[list[str]] = []

    def get_many(self, keys: Sequence[str]) -> Mapping[str, dict[str, Any]]:
        return self.inner.get_many(keys)

    def put_many(self, responses: Mapping[str, dict[str, Any]]) -> None:
        if self.left is not None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        self.inner.put_many(responses)
        self.committed.append(list(responses))


@pytest.mark.parametrize("window", [3, 256])
def test_records_are_those_of_items_run_by_hand(tiny_llama: HFModel, window: int) -> None:
    task = make_task()
    jobs = make_jobs(task, Label(), LabelThenWhy())
    found = collect(Engine(tiny_llama, window=window), jobs)
    assert list(found) != []
    assert set(found) == {job.key for job in jobs}
    for job in jobs:
        expected = alone(tiny_llama, job)
        record = found[job.key]
        assert record.failed == expected.failed
        if isinstance(job.analysis, Label):
            assert record.values["scores"] == pytest.approx(expected.values["scores"], abs=1e-4)
        else:
            assert record == expected


def test_an_item_that_ends_is_recorded_before_the_others_are_asked(tiny_llama: HFModel) -> None:
    events: list[str] = []
    task = make_task(12)

    class Watching(MemoryCache):
        def put_many(self, responses: Mapping[str, dict[str, Any]]) -> None:
            events.append("asked")
            super().put_many(responses)

    engine = Engine(tiny_llama, cache=Watching())
    engine.run(make_jobs(task, LabelThenWhy()), lambda job, _: events.append(job.item.id))
    assert events[:4] == ["item-0", "item-10", "asked", "asked"]


def test_a_question_is_asked_once(tiny_llama: HFModel) -> None:
    task = make_task(9, words=lambda i: "so ")
    jobs = make_jobs(task, Label(), LabelThenWhy())
    engine = Engine(tiny_llama, window=4)
    before = tiny_llama.forward_tokens
    collect(engine, jobs)
    # 9 score questions and 8 of why (item-0 ends early), each asked by two parties.
    assert engine.ledger.requests == 9 + 8 + 2 * 8
    assert engine.ledger.executed_requests == 9 + 8
    assert engine.ledger.executed_tokens == tiny_llama.forward_tokens - before
    assert 0 < engine.ledger.executed_tokens < engine.ledger.planned_tokens
    assert 0 < engine.ledger.cached_tokens < engine.ledger.saved_tokens
    assert engine.ledger.seconds > 0


def test_planned_tokens_are_those_of_the_plain_way(tiny_llama: HFModel) -> None:
    task = make_task(3)
    engine = Engine(tiny_llama)
    collect(engine, make_jobs(task, Label()))
    plain = 0
    for item in task.items:
        (scores,) = tiny_llama.score([Score(prompt=question(item), continuations=LABELS)])
        plain += sum(len(tiny_llama.encode(question(item))) + n - 1 for n in scores.tokens)
    assert engine.ledger.planned_tokens == plain
    assert engine.ledger.cached_tokens == 0


def test_a_failing_item_is_recorded_with_its_reason(tiny_llama: HFModel) -> None:
    jobs = make_jobs(make_task(6), LabelThenWhy(fails_at="item-3"))
    found = collect(Engine(tiny_llama), jobs)
    assert len(found) == 6
    assert (found["why/item-3"].failed or "").startswith("KeyError: '")
    assert [key for key, record in found.items() if record.failed is None] == [f"why/item-{i}" for i in (1, 2, 4, 5)]


def test_an_item_too_long_for_the_model_fails_alone(tiny_llama: HFModel) -> None:
    task = make_task(5, words=lambda i: "so " * (300 if i == 2 else 1))
    found = collect(Engine(tiny_llama), make_jobs(task, Label(), LabelThenWhy()))
    assert len(found) == 10
    for key in ("label/item-2", "why/item-2"):
        assert "do not fit into the 160 the model" in (found[key].failed or "")
    assert found["label/item-1"].failed is None


def test_an_analysis_that_returns_no_record_fails(tiny_llama: HFModel) -> None:
    @dataclass(frozen=True)
    class Forgetful(Label):
        def steps(self, task: Task, item: Item) -> Steps:
            yield [Score(prompt=question(item), continuations=task.labels)]

    found = collect(Engine(tiny_llama), make_jobs(make_task(2), Forgetful()))
    assert {r.failed for r in found.values()} == {"The analysis returned NoneType, not a Record."}


def test_an_error_of_the_model_is_not_swallowed(tiny_llama: HFModel) -> None:
    class Broken(HFModel):
        def score(self, requests: Sequence[Score], *, batch_tokens: int = 1) -> list[Scores]:
            raise RuntimeError("device lost")

    broken = Broken(tiny_llama.module, tiny_llama.tokenizer, weights="broken")
    with pytest.raises(RuntimeError, match="device lost"):
        collect(Engine(broken), make_jobs(make_task(3), Label()))


def test_what_the_cache_knows_needs_no_forward(tiny_llama: HFModel) -> None:
    jobs = make_jobs(make_task(8), Label(), LabelThenWhy())
    cache = MemoryCache()
    first = collect(Engine(tiny_llama, cache=cache), jobs)
    before = tiny_llama.forward_tokens
    again = Engine(tiny_llama, cache=cache)
    assert collect(again, jobs) == first
    assert tiny_llama.forward_tokens == before
    assert (again.ledger.executed_requests, again.ledger.executed_tokens) == (0, 0)
    assert again.ledger.cached_tokens == again.ledger.planned_tokens > 0


def test_two_models_never_share_an_answer(tiny_llama: HFModel) -> None:
    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():
        module.model.layers[1].mlp.down_proj.weight.mul_(1.5)
    other = HFModel(module, tiny_llama.tokenizer, weights="other weights, same name", name=tiny_llama.name)
    jobs = make_jobs(make_task(8), Label(), LabelThenWhy())
    shared = MemoryCache()
    for model in (tiny_llama, other):
        engine = Engine(model, cache=shared)
        with_shared = collect(engine, jobs)
        assert engine.ledger.executed_requests > 0
        assert with_shared == collect(Engine(model), jobs)
    assert with_shared != collect(Engine(tiny_llama, cache=shared), jobs)


@pytest.mark.parametrize("commits", [0, 2, 5])
def test_an_interrupted_run_ends_with_the_same_records_to_the_last_bit(tiny_llama: HFModel, commits: int) -> None:
    jobs = make_jobs(make_task(18), LabelThenWhy(), Label())
    # Small batches and windows: many commits, several rows in each.
    settings: dict[str, Any] = {"batch_tokens": 60, "window": 14}
    whole = collect(Engine(tiny_llama, **settings), jobs)
    cache = Recording(commits)
    found: dict[Any, Record] = {}
    with pytest.raises(KeyboardInterrupt):
        Engine(tiny_llama, cache=cache, **settings).run(jobs, lambda job, r: found.setdefault(job.key, r) and None)
    assert len(found) < len(jobs)
    cache.left = None
    rest = collect(Engine(tiny_llama, cache=cache, **settings), jobs, done=set(found))
    assert not set(found) & set(rest)
    assert {**found, **rest} == whole


def test_commits_come_in_small_parts(tiny_llama: HFModel) -> None:
    cache = Recording()
    collect(Engine(tiny_llama, cache=cache, batch_tokens=40), make_jobs(make_task(30), Label()))
    assert len(cache.committed) > 3
    assert sum(map(len, cache.committed)) == 30


def test_what_an_item_asks_stays_together(tiny_llama: HFModel) -> None:
    cache = Recording()
    task = make_task(9)
    jobs = make_jobs(task, Cuts())
    engine = Engine(tiny_llama, cache=cache, batch_tokens=80)
    collect(engine, jobs)
    owner = {
        request_key(tiny_llama.fingerprint, tiny_llama.encode(request.prompt), request): job.item.id
        for job in jobs
        for request in Cuts.asked(job.item)
    }
    parts = [{owner[key] for key in chunk} for chunk in cache.committed]
    assert len(parts) > 2
    # Only the item at the end of a part may go on in the next.
    assert sum(map(len, parts)) <= len(parts) + len(jobs) - 1
    assert engine.ledger.executed_tokens < 0.7 * engine.ledger.planned_tokens


def test_windows_that_are_done_are_skipped(tiny_llama: HFModel) -> None:
    jobs = make_jobs(make_task(8), Label())
    engine = Engine(tiny_llama, window=4)
    seen: list[tuple[int, int]] = []
    found = collect(engine, jobs, done={j.key for j in jobs[:4]}, progress=lambda d, n: seen.append((d, n)))
    assert set(found) == {j.key for j in jobs[4:]}
    assert engine.ledger.executed_requests == 4
    assert seen[0] == (4, 8)
    assert seen[-1] == (8, 8)


def test_the_ledger_of_a_call_is_its_own(tiny_llama: HFModel) -> None:
    engine = Engine(tiny_llama)
    parts = [engine.run(make_jobs(make_task(n), Label()), lambda *_: None) for n in (2, 5)]
    assert [p.requests for p in parts] == [2, 5]
    assert [p.executed_requests for p in parts] == [2, 3]
    assert parts[0] + parts[1] == engine.ledger
    assert Ledger() + engine.ledger == engine.ledger


def test_a_key_names_everything_a_response_depends_on() -> None:
    chat, text = question(make_task(1).items[0]), Prompt(text="x")
    requests = [
        Generate(prompt=text),
        Generate(prompt=text, max_new_tokens=3),
        Generate(prompt=text, stop=("a",)),
        Score(prompt=text, continuations=("a",)),
        Score(prompt=chat, continuations=("a",)),
        Score(prompt=text, continuations=("a", "b")),
    ]
    keys = {request_key(model, ids, r) for r in requests for model in ("m", "n") for ids in ((1, 2), (1, 3))}
    assert len(keys) == 4 * len(requests)


@pytest.mark.parametrize(
    "response",
    [
        Generation(text="a\n🙂", tokens=3, finished=True),
        Scores(log_probabilities=(-0.1, -1e-17), tokens=(1, 2), greedy=(True, False)),
    ],
)
def test_responses_survive_json_to_the_last_bit(response: Generation | Scores) -> None:
    import json

    assert unpack_response(json.loads(json.dumps(pack_response(response), allow_nan=False))) == response


def test_scores_that_are_not_numbers_are_not_kept(tiny_llama: HFModel) -> None:
    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():
        module.lm_head.weight[3] = float("nan")
    broken = HFModel(module, tiny_llama.tokenizer, weights="nan")
    cache = Recording()
    found = collect(Engine(broken, cache=cache), make_jobs(make_task(2), Label()))
    assert len(found) == 2
    assert cache.committed == [[]]
