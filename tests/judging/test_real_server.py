"""Ratings by a judge behind a real server (`transformers serve`): killed and restarted, or the client killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.judging.client import CONCURRENCY, ITEMS, rate
from tests.judging.planted import write_judge
from tests.judging.serving import CountingProxy, ServeProcess, free_port

from compressed_lens.errors import ModelError
from compressed_lens.lm.endpoint import EndpointModel
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Generate, Message, Prompt, Score

for package in ("fastapi", "uvicorn", "openai"):
    pytest.importorskip(package, reason="the server needs `pip install compressed-lens[serve]`")

ROOT = Path(__file__).resolve().parents[2]
HELLO = Prompt(messages=(Message(role="user", content="Rate it."),))
Values = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that writes ratings; its path is its name on the server."""
    return write_judge(tmp_path_factory.mktemp("judge") / "model")


@pytest.fixture(scope="module")
def server(judge: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """The real server, running."""
    process = ServeProcess(judge, tmp_path_factory.mktemp("serve") / "log.txt")
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def studied() -> HFModel:
    return HFModel.load(locate_model("reference"), device="cpu")


@pytest.fixture(scope="module")
def undisturbed(
    server: ServeProcess, judge: Path, studied: HFModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Values, set[bytes]]:
    """The records of a run that nothing disturbed, and the questions it put to the judge, each once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with CountingProxy(server.port) as proxy:
        rate(folder, proxy.url, judge, model=studied)
    assert set(proxy.answered.values()) == {1}
    return recorded(folder), set(proxy.answered)


def recorded(folder: Path) -> Values:
    """Return the values of every record; one that is there twice, or failed, is an error."""
    connection = sqlite3.connect(folder / "run.sqlite")
    rows = connection.execute('SELECT item, failed, "values" FROM records').fetchall()
    connection.close()
    assert len(rows) == len({item for item, _, _ in rows})
    assert all(failed is None for _, failed, _ in rows)
    return {item: json.loads(values) for item, _, values in rows}


def test_the_judge_behind_the_server_gives_ratings(undisturbed: tuple[Values, set[bytes]]) -> None:
    values, questions = undisturbed
    assert len(values) == ITEMS
    ratings = [value["coherence:judge"] for value in values.values()]
    assert len(set(ratings) - {None}) > 2
    assert all(rating is None or rating in range(1, 6) for rating in ratings)
    assert len(questions) <= 2 * ITEMS
    for value in values.values():
        told = value["answers"]
        unread = sum(value[f"{dimension}:judge"] is None for dimension in ("trustworthiness", "coherence"))
        assert set(told) == {"trustworthiness:judge", "coherence:judge"}
        assert value["unparsed"] == unread / 2


def test_the_answers_are_those_of_the_same_model_in_this_process(server: ServeProcess, judge: Path) -> None:
    local = HFModel.load(judge, device="cpu", dtype="float32")
    asked = [
        Generate(prompt=Prompt(messages=(Message(role="user", content=f"Label: {word}"),)), max_new_tokens=6)
        for word in "one two three four five six".split()
    ]
    remote = EndpointModel(f"http://127.0.0.1:{server.port}", str(judge), concurrency=3)
    assert [a.text for a in remote.generate(asked)] == [a.text for a in local.generate(asked)]


def test_a_server_killed_and_restarted_loses_and_doubles_nothing(
    server: ServeProcess, judge: Path, studied: HFModel, undisturbed: tuple[Values, set[bytes]], tmp_path: Path
) -> None:
    values, questions = undisturbed
    restart = threading.Thread(target=server.start)

    def crash(answers: int) -> None:
        if answers >= len(questions) // 2 and not restart.ident:
            server.kill()
            restart.start()

    with CountingProxy(server.port) as proxy:
        proxy.before = crash
        try:
            rate(tmp_path, proxy.url, judge, model=studied)
        finally:
            if restart.ident:
                restart.join()
    assert restart.ident, "the server was never killed"
    assert proxy.received > len(questions), "no request met the dead server"
    assert recorded(tmp_path) == values
    assert set(proxy.answered) == questions
    # The retries are of requests that got no answer: each question was answered once.
    assert set(proxy.answered.values()) == {1}


def test_a_killed_client_that_is_started_again_loses_and_doubles_nothing(
    server: ServeProcess, judge: Path, undisturbed: tuple[Values, set[bytes]], tmp_path: Path
) -> None:
    values, questions = undisturbed
    running: list[subprocess.Popen[bytes]] = []
    moment = len(questions) * 3 // 4

    def crash(answers: int) -> None:
        if answers >= moment and running[-1].poll() is None and len(running) == 1:
            running[-1].send_signal(signal.SIGKILL)

    with CountingProxy(server.port) as proxy:
        proxy.before = crash
        command = [sys.executable, "-m", "tests.judging.client", str(tmp_path), proxy.url, str(judge)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        assert running[0].wait(300) == -signal.SIGKILL
        before = recorded(tmp_path)
        assert 0 < len(before) < ITEMS
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        assert running[1].wait(300) == 0
    assert {item: values[item] for item in before} == before
    assert recorded(tmp_path) == values
    assert set(proxy.answered) == questions
    again = proxy.answered.total() - len(questions)
    most = EndpointModel(proxy.url, str(judge), concurrency=CONCURRENCY).most_requests
    assert again <= most


def test_a_server_without_log_probabilities_cannot_score(server: ServeProcess, judge: Path) -> None:
    endpoint = EndpointModel(f"http://127.0.0.1:{server.port}/v1", str(judge), name="j")
    with pytest.raises(ModelError, match=r"The judge 'j' at http://127.* tells no log-probabilities"):
        endpoint.score([Score(prompt=HELLO, continuations=("1", "2"))])


def test_an_unknown_model_is_refused_at_once(server: ServeProcess) -> None:
    endpoint = EndpointModel(f"http://127.0.0.1:{server.port}/v1", "no-such-model", patience=60)
    with pytest.raises(ModelError, match=r"refused the request with status 400: .*no-such-model"):
        endpoint.generate([Generate(prompt=HELLO, max_new_tokens=1)])


def test_a_port_where_nobody_listens_is_one_sentence() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    endpoint = EndpointModel(url, "m", patience=0.8, name="j")
    with pytest.raises(ModelError) as error:
        endpoint.generate([Generate(prompt=HELLO, max_new_tokens=1)])
    assert error.value.message.startswith(f"The judge 'j' at {url} could not be reached (")
    assert error.value.message.count(". ") == 0
    assert "clens resume" in error.value.fix
