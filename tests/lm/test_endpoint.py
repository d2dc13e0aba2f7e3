"""The endpoint model against a local HTTP server: retries, refusals, secrets, scores read off the first token."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compressed_lens.engine import Engine, Job
from compressed_lens.errors import ModelError
from compressed_lens.lm.endpoint import EndpointModel, read_scores
from compressed_lens.lm.protocol import METHODS, Attribute, Embed, Generate, Message, Prompt, Read, Score, Trace

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

KEY = "sk-Very-Secret-123"
Reply = tuple[int, Any, dict[str, str]]


class Server:
    """Answers each POST with what `reply` makes of its body; keeps what it was sent."""

    def __init__(self, reply: Callable[[dict[str, Any], int], Reply]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at: list[float] = []
        self.busy = self.most_busy = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.sent.append({"path": self.path, **body})
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.at.append(time.monotonic())
                    number = len(outer.sent)
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                status, said, headers = reply(body, number)
                with lock:
                    outer.busy -= 1
                if status == 0:
                    self.close_connection = True
                    return
                content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    started: list[Server] = []

    def start(reply: Callable[[dict[str, Any], int], Reply]) -> Server:
        started.append(Server(reply))
        return started[-1]

    yield start
    for server in started:
        server.close()


def chat(text: str | None, **more: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    return 200, {"choices": [choice], "usage": {"completion_tokens": 3}}, {}


def ask(text: str, **settings: Any) -> Generate:
    return Generate(prompt=Prompt(messages=(Message(role="user", content=text),)), **settings)


def failing(*replies: Reply) -> Callable[[dict[str, Any], int], Reply]:
    """Give `replies` in turn, then an answer."""
    return lambda _, number: replies[number - 1] if number <= len(replies) else chat("fine")


def test_what_is_sent_and_what_is_read(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, _: chat(f"said END {body['messages'][0]['content']}"))
    model = EndpointModel(server.url, "m")
    plain, stopped = model.generate([ask("hello"), ask("ho", max_new_tokens=7, stop=("END", "x"))])
    assert (plain.text, plain.tokens, plain.finished) == ("said END hello", 3, True)
    assert (stopped.text, stopped.finished) == ("said ", True)
    sent = {body["messages"][0]["content"]: body for body in server.sent}
    assert sent["hello"] == {
        "path": "/v1/chat/completions",
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 64,
        "temperature": 0.0,
    }
    assert (sent["ho"]["max_tokens"], sent["ho"]["stop"]) == (7, ["END", "x"])
    model.generate([ask("drawn", temperature=0.7, seed=5)])
    assert (server.sent[-1]["temperature"], server.sent[-1]["seed"]) == (0.7, 5)
    assert all("authorization" not in headers for headers in server.headers)


def test_an_answer_at_the_limit_is_not_finished_and_an_absent_text_is_empty(serve: Callable[..., Server]) -> None:
    server = serve(lambda _, n: chat("cut", finish_reason="length") if n == 1 else chat(None))
    model = EndpointModel(server.url, "m")
    assert not model.generate([ask("a")])[0].finished
    assert model.generate([ask("b")])[0].text == ""


def test_order_is_kept_and_concurrency_bounded(serve: Callable[..., Server]) -> None:
    def slow(body: dict[str, Any], number: int) -> Reply:
        time.sleep(0.05 if number % 2 else 0.01)
        return chat(body["messages"][0]["content"])

    server = serve(slow)
    model = EndpointModel(server.url, "m", concurrency=3)
    said = [answer.text for answer in model.generate([ask(str(n)) for n in range(20)])]
    assert said == [str(n) for n in range(20)]
    assert server.most_busy == 3


@pytest.mark.parametrize(
    "trouble",
    [
        (0, "", {}),
        (500, "Internal Server Error", {}),
        (503, {"error": {"message": "loading"}}, {}),
        (429, {"error": "slow down"}, {}),
        (200, {"error": {"message": "upstream overloaded"}}, {}),
    ],
    ids=["dropped", "500", "503", "429", "error in an answer"],
)
def test_passing_trouble_is_outlasted(serve: Callable[..., Server], trouble: Reply) -> None:
    server = serve(failing(trouble))
    assert EndpointModel(server.url, "m", patience=20).generate([ask("a")])[0].text == "fine"
    assert len(server.sent) == 2
    assert server.at[1] - server.at[0] > 0.2


def test_waits_grow_and_a_server_may_name_them(serve: Callable[..., Server]) -> None:
    server = serve(failing((503, "", {}), (503, "", {})))
    EndpointModel(server.url, "m", patience=20).generate([ask("a")])
    assert 0.2 < server.at[1] - server.at[0] < 0.9
    assert 0.45 < server.at[2] - server.at[1] < 1.6
    for asked in (lambda: "1.2", lambda: formatdate(time.time() + 3, usegmt=True)):
        server = serve(lambda _, n, asked=asked: (429, "", {"Retry-After": asked()}) if n == 1 else chat("fine"))
        EndpointModel(server.url, "m", patience=20).generate([ask("a")])
        assert server.at[1] - server.at[0] > 1.1
    server = serve(failing((429, "", {"Retry-After": "3600"})))
    started = time.monotonic()
    with pytest.raises(ModelError, match="status 429"):
        EndpointModel(server.url, "m", patience=20).generate([ask("a")])
    assert time.monotonic() - started < 2


def test_time_outs_are_tried_again_until_patience_ends(serve: Callable[..., Server]) -> None:
    def stuck(_: dict[str, Any], __: int) -> Reply:
        time.sleep(0.6)
        return chat("late")

    server = serve(stuck)
    model = EndpointModel(server.url, "m", timeout=0.2, patience=1.0, name="j")
    with pytest.raises(
        ModelError, match=r"The judge 'j' at http.* gave no answer within 0.2 s; tried \d times"
    ) as error:
        model.generate([ask("a")])
    assert len(server.sent) >= 2
    assert "clens resume" in error.value.fix


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, {}), "refused the key (status 401)"),
        ((403, "no", {}), "refused the key (status 403)"),
        ((404, {"error": {"message": f"no model m for {KEY}"}}, {}), "status 404: no model m for [key]"),
        ((400, {"detail": "bad\x1b[31m\nthing"}, {}), "status 400: bad [31m thing"),
        ((302, "", {"Location": "http://example.com/v1/chat/completions"}), "which are not followed"),
        ((200, "<html>hello</html>", {}), "does not answer as an OpenAI-compatible chat endpoint does"),
        ((200, {"choices": []}, {}), "does not answer as an OpenAI-compatible chat endpoint does"),
    ],
)
def test_refusals_end_at_once_without_the_key(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, reply: Reply, told: str
) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    server = serve(lambda *_: reply)
    model = EndpointModel(server.url, "m", api_key_env="JUDGE_KEY", concurrency=1)
    with pytest.raises(ModelError) as error:
        model.generate([ask("a"), ask("b")])
    assert told in error.value.message
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert len(server.sent) == 1
    assert KEY not in str(error.value) + repr(model) + str(vars(model)["_client"]) + model.fingerprint


def test_one_refusal_ends_the_others_soon(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, _: (400, "no", {}) if body["messages"][0]["content"] == "bad" else (503, "", {}))
    model = EndpointModel(server.url, "m", patience=60, concurrency=4)
    started = time.monotonic()
    with pytest.raises(ModelError, match="status 400"):
        model.generate([ask("good"), ask("good"), ask("bad"), *[ask("more")] * 20])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://host/v1", "not an http or https address"),
        ("localhost:8000", "not an http or https address"),
        ("http://", "not an http or https address"),
        ("http://host:port/v1", "not an http or https address"),
        (f"http://user:{KEY}@host/v1", "holds a user name, a query or a fragment"),
        (f"http://[user:{KEY}@host/v1", "holds a user name, a query or a fragment"),
        (f"https://host/v1?key={KEY}", "holds a user name, a query or a fragment"),
    ],
)
def test_malformed_addresses(url: str, told: str) -> None:
    with pytest.raises(ModelError) as error:
        EndpointModel(url, "m", name="j")
    assert told in error.value.message
    assert KEY not in str(error.value)


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ModelError, match="environment variable NO_SUCH_KEY is not set"):
        EndpointModel("http://host", "m", api_key_env="NO_SUCH_KEY")
    monkeypatch.setenv("ODD_KEY", "k\u2019ey")
    with pytest.raises(ModelError, match="cannot be sent"):
        EndpointModel("http://host", "m", api_key_env="ODD_KEY")
    with pytest.raises(ModelError, match="no model name"):
        EndpointModel("http://host", "")
    for setting in ({"timeout": 0}, {"patience": -1}, {"concurrency": 0}):
        with pytest.raises(ModelError, match="Give a number of at least"):
            EndpointModel("http://host", "m", **setting)  # type: ignore[arg-type]


def test_identity_is_address_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    plain = EndpointModel("http://host:1", "m")
    assert plain.url == "http://host:1/v1"
    for same in ("http://host:1/v1/", "http://host:1/v1/chat/completions"):
        assert EndpointModel(same, "m", api_key_env="JUDGE_KEY", patience=1).fingerprint == plain.fingerprint
    others = (
        EndpointModel("http://host:1", "n"),
        EndpointModel("http://host:2", "m"),
        EndpointModel("https://host:1", "m"),
    )
    assert len({model.fingerprint for model in (plain, *others)}) == 4
    assert plain.encode(ask("a").prompt) == plain.encode(ask("a").prompt) != plain.encode(ask("b").prompt)


def test_what_a_chat_endpoint_cannot_do_is_said_beforehand() -> None:
    model = EndpointModel("http://host", "m", name="j")
    with pytest.raises(ModelError, match="cannot continue a plain text"):
        model.check(Generate(prompt=Prompt(text="Once")))
    with pytest.raises(ModelError, match="cannot go on with a started answer"):
        model.check(Score(prompt=Prompt(messages=ask("a").prompt.messages, prefill="<new>"), continuations=("a",)))
    model.check(ask("a"))
    for kind in (Trace, Read, Embed, Attribute):
        assert not hasattr(model, METHODS[kind])


def test_scores_are_the_models_own(serve: Callable[..., Server], tiny_llama: HFModel) -> None:
    """The server tells the first-token distribution of a real model; scores must be what that model gives itself."""
    import torch

    tokenizer = tiny_llama.tokenizer

    def reply(body: dict[str, Any], _: int) -> Reply:
        assert (body["max_tokens"], body["logprobs"], body["temperature"]) == (1, True, 0.0)
        prompt = Prompt(messages=tuple(Message(**message) for message in body["messages"]))
        with torch.no_grad():
            logits = tiny_llama.module(torch.tensor([tiny_llama.encode(prompt)])).logits[0, -1].float()
        top = logits.log_softmax(-1).topk(body["top_logprobs"])
        listed = [
            {"token": tokenizer.decode([i]), "logprob": p}
            for i, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        return chat("x", logprobs={"content": [{**listed[0], "top_logprobs": listed}]})

    prompt = ask("Rate it.").prompt
    with torch.no_grad():
        best = tiny_llama.module(torch.tensor([tiny_llama.encode(prompt)])).logits[0, -1].topk(20).indices.tolist()
    texts = [tokenizer.decode([i]) for i in best]
    # Texts that are one token, plain, and the start of no other on the list.
    plain = [t for t in texts if t.strip() == t and t.isascii() and t.isprintable()]
    single = tuple(t for t in plain if not any(o.strip() != t and t.startswith(o.strip()) and o.strip() for o in texts))
    assert len(single) >= 4
    request = Score(prompt=prompt, continuations=single)
    ours = EndpointModel(serve(reply).url, "m").score([request])[0]
    local = tiny_llama.score([request])[0]
    assert ours.log_probabilities == pytest.approx(local.log_probabilities, abs=1e-4)
    assert ours.greedy == local.greedy


def test_tokens_speak_for_what_they_begin() -> None:
    log = math.log
    found = read_scores(
        ("contradiction", "neutral", "entailment"),
        [("contr", log(0.5)), (" neutral", log(0.2)), ("neutral", log(0.1)), ("The", log(0.15)), (" ", log(0.05))],
    )
    assert found.log_probabilities == pytest.approx((log(0.5), log(0.3), -100.0))
    assert found.greedy == (True, False, False)
    assert found.tokens == (1, 1, 1)
    # "not" begins two of them, and no listed token tells them apart.
    unclear = read_scores(("not sure", "not true", "true"), [("not", log(0.9)), ("maybe", log(0.1))])
    assert unclear.log_probabilities == (-math.inf,) * 3
    # "1" may go on to "10": it tells nothing, "2" does.
    tens = read_scores(("1", "10", "2"), [("1", log(0.6)), ("2", log(0.4))])
    assert tens.log_probabilities == pytest.approx((-100.0, -100.0, log(0.4)))
    assert tens.greedy == (False, False, False)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": []},
        {"content": [{"top_logprobs": None}]},
        {"content": [{"top_logprobs": [{"token": "a"}]}]},
    ],
)
def test_a_server_that_tells_no_probabilities(serve: Callable[..., Server], logprobs: Any) -> None:
    server = serve(lambda *_: chat("4", logprobs=logprobs))
    with pytest.raises(ModelError, match="tells no log-probabilities") as error:
        EndpointModel(server.url, "m").score([Score(prompt=ask("a").prompt, continuations=("1",))])
    assert 'mode: "parsed"' in error.value.fix


def test_the_engine_commits_answers_a_few_at_a_time(
    serve: Callable[..., Server], load_model: Callable[[Path], HFModel]
) -> None:
    from compressed_lens.engine import MemoryCache
    from compressed_lens.judging.rating import Rating
    from compressed_lens.lm.locate import locate_model
    from compressed_lens.tasks import load_task

    commits: list[int] = []

    class Noting(MemoryCache):
        def put_many(self, responses: Any) -> None:
            commits.append(len(responses))
            super().put_many(responses)

    server = serve(lambda *_: chat("4"))
    judge = EndpointModel(server.url, "m", concurrency=2)
    task = load_task("testbed-reviews", limit=6)
    analysis = Rating(judges=("j",), mode="parsed", max_new_tokens=4)
    records: list[Any] = []
    studied = load_model(locate_model("reference"))
    engine = Engine(studied, cache=Noting(), others=lambda _: judge)
    engine.run(
        [Job(key=i.id, analysis=analysis, task=task, item=i) for i in task.items], lambda _, r: records.append(r)
    )
    assert len(records) == 6
    assert all(r.values["coherence"] == 4 for r in records if r.values["rated"])
    judged = commits[-math.ceil(len(server.sent) / judge.most_requests) :]
    assert sum(judged) == len(server.sent) > judge.most_requests
    assert max(judged) == judge.most_requests == 4
