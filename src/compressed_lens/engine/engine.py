"""The engine: drives the generators of many items in waves, and asks the model every distinct question once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from compressed_lens.analyses.base import Analysis, Record, Steps
from compressed_lens.engine.cache import (
    MemoryCache,
    ResponseCache,
    is_kept,
    is_storable,
    pack_response,
    request_key,
    unpack_response,
)
from compressed_lens.engine.ledger import Ledger, plain_cost
from compressed_lens.errors import LensError, ModelError
from compressed_lens.lm.protocol import (
    METHODS,
    Answering,
    Ask,
    Attribute,
    Embed,
    Generate,
    Inspect,
    Read,
    Request,
    Response,
    Score,
    Trace,
)
from compressed_lens.tasks.base import Item, Task

SELF = "self"
WINDOW = 256
_BATCHES_PER_COMMIT = 4
_CHARACTERS = 4  # of a token, roughly

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One analysis of one item.

    Attributes:
        key: The caller's name for the job, unique within a run.
    """

    key: Hashable
    analysis: Analysis
    task: Task
    item: Item


@runtime_checkable
class _Checking(Protocol):
    """A model that can say beforehand which single requests it would refuse."""

    def check(self, request: Request) -> None:
        """Raise a LensError for a request that cannot be executed."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A request with what identifies it and whom it is for."""

    key: str
    ids: tuple[int, ...]
    request: Request
    to: str

    @property
    def size(self) -> int:
        """Rough number of tokens its execution holds at once."""
        match self.request:
            case Generate():
                return len(self.ids) + self.request.max_new_tokens
            case Score():
                return len(self.ids) + len(self.request.continuations)
            case Trace():
                return len(self.ids) + len(self.request.continuation) // _CHARACTERS
            case Attribute():
                return len(self.ids) * self.request.steps
            case Inspect():
                return len(self.ids) * self.request.by.passes
        return 1 + len(self.request.text) // _CHARACTERS


class _Live:
    """A job under way: its generator, what it asked last, and its record once there is one."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.questions: list[_Question] = []
        self.record: Record | None = None
        self._steps: Steps | None = None

    def advance(self, responses: list[Response] | None) -> list[Request | Ask]:
        """Start the generator, or send it responses; return what it asks next.

        An exception of the analysis ends the item with a failed record; nothing else is caught here.
        """
        try:
            if self._steps is None:
                self._steps = self.job.analysis.steps(self.job.task, self.job.item)
                return next(self._steps)
            return self._steps.send(responses or [])
        except StopIteration as end:
            self.record = (
                end.value
                if isinstance(end.value, Record)
                else Record(values={}, failed=f"The analysis returned {type(end.value).__name__}, not a Record.")
            )
        except Exception as error:
            self.fail(error)
        return []

    def fail(self, error: Exception) -> None:
        """End the item with a failed record."""
        if self._steps is not None:
            self._steps.close()
        reason = str(error) if isinstance(error, LensError) else f"{type(error).__name__}: {error}"
        self.record = Record(values={}, failed=reason)


class Engine:
    """Runs analyses against one model.

    Jobs are taken in windows. Within a window every unfinished item's requests are gathered, duplicates and questions
    the cache knows are taken out, and the rest is executed in chunks that are committed to the cache one by one. What
    is batched with what depends on the list of jobs alone, so an interrupted run that is started again with the same
    jobs and the same cache (see `done`) gives the same numbers to the last bit.

    Args:
        model: The model to ask.
        batch_tokens: Most tokens of one batch, padding included.
        cache: Where responses are kept; one in memory by default.
        window: Items in flight at a time, unless the analysis has a `window` of its own; bounds memory and what a
            killed run must repeat.
        others: Gives the other models that analyses ask (see `lm.protocol.Ask`), by name; called once a name.
    """

    def __init__(
        self,
        model: Answering,
        *,
        batch_tokens: int = 8192,
        cache: ResponseCache | None = None,
        window: int = WINDOW,
        others: Callable[[str], Answering] | None = None,
    ) -> None:
        self._models: dict[str, Answering] = {SELF: model}
        self._others = others
        self._batch_tokens = batch_tokens
        self._cache: ResponseCache = cache if cache is not None else MemoryCache()
        self._window = window
        self._ledger = Ledger()

    @property
    def ledger(self) -> Ledger:
        """Counts over everything this engine has run."""
        return self._ledger

    def run(
        self,
        jobs: Iterable[Job],
        on_record: Callable[[Job, Record], None],
        *,
        done: Collection[Hashable] = (),
        progress: Progress | None = None,
    ) -> Ledger:
        """Run every job to its record.

        Args:
            jobs: What to do, in an order that is the same each time.
            on_record: Called with every record as soon as its item ends.
            done: Keys of jobs recorded by an earlier run: `on_record` is not called for them. A window of nothing
                else is skipped; in others they are driven again out of the cache, to keep the batches as they were.
            progress: Called with (jobs ended, jobs in all), after every wave.

        Returns:
            The counts of this call.

        Raises:
            LensError: The model failed; items that have not ended are left out.
        """
        todo = list(jobs)
        before = self._ledger
        ended = 0
        size = min((getattr(job.analysis, "window", self._window) for job in todo), default=self._window)
        for start in range(0, len(todo), size):
            window = todo[start : start + size]
            if all(job.key in done for job in window):
                ended += len(window)
                if progress:
                    progress(ended, len(todo))
                continue
            live = [_Live(job) for job in window]
            for one in live:
                self._put(one, one.advance(None))
            while True:
                for one in live:
                    if one.record is not None:
                        ended += 1
                        if one.job.key not in done:
                            on_record(one.job, one.record)
                live = [one for one in live if one.record is None]
                if progress:
                    progress(ended, len(todo))
                if not live:
                    break
                answers = self._answer([one.questions for one in live])
                for one in live:
                    self._put(one, one.advance([answers[q.key] for q in one.questions]))
        return self._ledger - before

    def _put(self, one: _Live, requests: Sequence[Request | Ask]) -> None:
        """Attach the requests of an item to it; one its model cannot read fails the item."""
        if one.record is not None:
            return
        # A judge that cannot be opened ends the run, which can be resumed; only what is asked of it can fail an item.
        if self._others is not None:
            for request in requests:
                if isinstance(request, Ask):
                    self._model(request.to)
        try:
            one.questions = [self._question(request) for request in requests]
        except LensError as error:
            one.fail(error)

    def _question(self, request: Request | Ask) -> _Question:
        to, asked = (request.to, request.request) if isinstance(request, Ask) else (SELF, request)
        model = self._model(to)
        if not hasattr(model, METHODS[type(asked)]):
            raise ModelError(
                f"The model '{to}' cannot {METHODS[type(asked)]}.",
                fix="Name a judge of another kind in the analysis's settings; docs/judges.md has the table.",
            )
        if isinstance(model, _Checking):
            model.check(asked)
        ids = () if isinstance(asked, Read | Embed) else tuple(model.encode(asked.prompt))
        return _Question(key=request_key(model.fingerprint, ids, asked), ids=ids, request=asked, to=to)

    def _model(self, name: str) -> Answering:
        if name not in self._models:
            if self._others is None:
                raise ModelError(f"An analysis asks the model '{name}', and there is none of that name.")
            self._models[name] = self._others(name)
        return self._models[name]

    def _answer(self, families: Sequence[Sequence[_Question]]) -> dict[str, Response]:
        """Return the response to every question, by key; a family is what one item asks."""
        questions = [question for family in families for question in family]
        unique = {question.key: question for question in questions}
        known = self._cache.get_many(list(unique))
        answers = {key: unpack_response(stored) for key, stored in known.items()}
        executed: set[str] = set()
        tokens = 0
        started = time.perf_counter()
        # Chunks are formed before what is known is taken out, so that an interruption does not change them.
        for chunk in self._chunks(families):
            missing = [question for question in chunk if question.key not in answers]
            if not missing:
                continue
            model = self._model(missing[0].to)
            read = getattr(model, "forward_tokens", None)
            ask = getattr(model, METHODS[type(missing[0].request)])
            responses = ask([q.request for q in missing], batch_tokens=self._batch_tokens)
            found = dict(zip((q.key for q in missing), responses, strict=True))
            self._cache.put_many(
                {q.key: pack_response(r) for q in missing if is_kept(q.request) and is_storable(r := found[q.key])}
            )
            answers.update(found)
            executed.update(found)
            tokens += (
                sum(plain_cost(len(q.ids), found[q.key]) for q in missing)
                if read is None
                else getattr(model, "forward_tokens", read) - read
            )
        planned = [plain_cost(len(q.ids), answers[q.key]) for q in questions]
        self._ledger += Ledger(
            requests=len(questions),
            executed_requests=len(executed),
            planned_tokens=sum(planned),
            cached_tokens=sum(planned) - sum(plain_cost(len(unique[k].ids), answers[k]) for k in executed),
            executed_tokens=tokens,
            seconds=time.perf_counter() - started,
        )
        return answers

    def _chunks(self, families: Sequence[Sequence[_Question]]) -> list[list[_Question]]:
        """Return the distinct questions in parts for one model and of one kind, each worth a few batches.

        What an item asks stays together, because it often begins alike (see `lm.tree`); the item with the longest
        question comes first.
        """
        kinds: dict[tuple[str, type], list[list[_Question]]] = {}
        seen: set[str] = set()
        for family in families:
            own: dict[tuple[str, type], list[_Question]] = {}
            for question in family:
                if question.key not in seen:
                    seen.add(question.key)
                    own.setdefault((question.to, type(question.request)), []).append(question)
            for kind, asked in own.items():
                kinds.setdefault(kind, []).append(sorted(asked, key=lambda q: -q.size))
        chunks: list[list[_Question]] = []
        for (to, _), groups in kinds.items():
            most = getattr(self._model(to), "most_requests", sum(map(len, groups)))
            room = 0
            for question in (q for group in sorted(groups, key=lambda g: -g[0].size) for q in group):
                if room <= 0 or len(chunks[-1]) >= most:
                    chunks.append([])
                    room = _BATCHES_PER_COMMIT * self._batch_tokens
                chunks[-1].append(question)
                room -= question.size
        return chunks
