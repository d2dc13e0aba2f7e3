"""A model behind an OpenAI-compatible chat endpoint: texts, and scores of what its first token tells."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from compressed_lens.errors import ModelError
from compressed_lens.ids import canonical_json, digest
from compressed_lens.lm.chat_client import ChatClient
from compressed_lens.lm.protocol import Embed, Generate, Generation, Prompt, Read, Request, Score, Scores

R = TypeVar("R")

_TOP = 20
_UNLISTED = -100.0
_REQUESTS_PER_CONNECTION = 2


class EndpointModel:
    """One model of a server that speaks OpenAI's chat completions: vLLM, `transformers serve`, hosted services.

    It answers `Generate`, and `Score` as far as the server tells the log-probabilities of the first token. A request
    that meets a dropped connection, a time-out, "too many requests" or a server's fault is sent again, after waits
    that double and jitter (or that the server names), until `patience` seconds have passed since its first failure.

    Nothing is sent but to `url`; redirects are not followed, and `.netrc` is not read. The key is read once from the
    environment and stands in no message, no fingerprint and no representation.

    Args:
        url: Base address, such as "http://localhost:8000/v1"; "/v1" is added where there is no path.
        model: Name of the model on the server. For `transformers serve FOLDER` it is that very folder's path.
        api_key_env: Environment variable that holds the key; None sends none.
        timeout: Seconds to wait for an answer before the request counts as lost.
        patience: Seconds to go on trying.
        concurrency: Most requests under way at a time.
        name: Name of the judge, for messages.

    Raises:
        ModelError: The address is not plain http or https, holds a secret, or the key is missing.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        timeout: float = 60,
        patience: float = 600,
        concurrency: int = 4,
        name: str = "",
    ) -> None:
        self._who = f"The judge '{name}'" if name else "The model"
        if not model:
            raise ModelError(f"{self._who} has no model name.", fix="Give the name the server knows it by as `model`.")
        for setting, value, least in (
            ("timeout", timeout, 0.001),
            ("patience", patience, 0),
            ("concurrency", concurrency, 1),
        ):
            if not value >= least:
                raise ModelError(f"{self._who} has a {setting} of {value}.", fix=f"Give a number of at least {least}.")
        self.model = model
        self._concurrency = int(concurrency)
        self._client = ChatClient(
            url,
            who=self._who,
            api_key_env=api_key_env,
            timeout=timeout,
            patience=patience,
            connections=self._concurrency,
        )

    @property
    def url(self) -> str:
        """The base address, as it is used."""
        return self._client.url

    @property
    def fingerprint(self) -> str:
        """Digest of address and model name.

        The weights behind them cannot be seen: a server that changes them under the same name keeps its fingerprint.
        Time-outs and concurrency do not enter, since no answer depends on them.
        """
        return digest(["endpoint", self.url, self.model])

    @property
    def most_requests(self) -> int:
        """Most requests of one call: what a killed run must ask again at most."""
        return _REQUESTS_PER_CONNECTION * self._concurrency

    def check(self, request: Request) -> None:
        """Refuse a request that no chat endpoint can execute.

        Raises:
            ModelError: The prompt is plain text, or begins the answer.
        """
        if isinstance(request, Read | Embed):
            return
        if request.prompt.text is not None or request.prompt.prefill:
            what = "continue a plain text" if request.prompt.text is not None else "go on with a started answer"
            raise ModelError(f"{self._who} is a chat endpoint and cannot {what}.", fix="Use a local model for this.")

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the UTF-8 bytes of the conversation as JSON: the server's tokens are not known here."""
        return list(canonical_json(_messages(prompt)).encode())

    def generate(self, requests: Sequence[Generate], *, batch_tokens: int = 8192) -> list[Generation]:
        """Answer every request, in order; `batch_tokens` has no meaning for a server.

        `Generation.tokens` is what the server counted, 0 where it does not say.

        Raises:
            ModelError: The server refused a request, or could not be reached for `patience` seconds.
        """
        return self._each(self._generate, requests)

    def score(self, requests: Sequence[Score], *, batch_tokens: int = 8192) -> list[Scores]:
        """Score continuations by the first token of the answer, in order.

        A listed token speaks for the one continuation it is, or is the start of (blanks around it apart); tokens that
        could begin several speak for none. A continuation without a listed token gets -100, about the probability 0;
        where no continuation has one, all get minus infinity: nothing can be read off.

        Raises:
            ModelError: As for `generate`, or the server tells no log-probabilities.
        """
        return self._each(self._score, requests)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _generate(self, request: Generate, stop: threading.Event) -> Generation:
        body: dict[str, Any] = {"max_tokens": request.max_new_tokens, "temperature": request.temperature}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.temperature:
            body["seed"] = request.seed
        answer = self._client.ask({**self._asked(request.prompt), **body}, stop)
        choice = answer["choices"][0]
        text = (choice.get("message") or {}).get("content") or ""
        ends = [at for at in (text.find(mark) for mark in request.stop if mark) if at >= 0]
        tokens = (answer.get("usage") or {}).get("completion_tokens")
        return Generation(
            text=text[: min(ends)] if ends else text,
            tokens=tokens if isinstance(tokens, int) else 0,
            finished=bool(ends) or choice.get("finish_reason") != "length",
        )

    def _score(self, request: Score, stop: threading.Event) -> Scores:
        body = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": _TOP}
        choice = self._client.ask({**self._asked(request.prompt), **body}, stop)["choices"][0]
        told = (choice.get("logprobs") or {}).get("content") or ()
        listed = (told[0].get("top_logprobs") or ()) if told else ()
        try:
            tokens = [(str(entry["token"]), min(0.0, float(entry["logprob"]))) for entry in listed]
        except (KeyError, TypeError, ValueError):
            tokens = []
        if not tokens:
            raise ModelError(
                f"{self._who} at {self.url} tells no log-probabilities, so nothing can be scored.",
                fix='Ask for a written answer instead (for ratings: mode: "parsed"), or use a local model.',
            )
        return read_scores(request.continuations, tokens)

    def _each(self, act: Callable[[Any, threading.Event], R], requests: Sequence[Any]) -> list[R]:
        """Do `act` for every request, a bounded number at a time; the first error ends them all."""
        stop = threading.Event()
        errors: list[Exception] = []

        def one(request: Any) -> R:
            if stop.is_set():
                raise CancelledError
            try:
                return act(request, stop)
            except Exception as error:
                errors.append(error)
                stop.set()
                raise

        with ThreadPoolExecutor(min(self._concurrency, max(1, len(requests)))) as pool:
            started = [pool.submit(one, request) for request in requests]
            try:
                wait(started, return_when=FIRST_EXCEPTION)
                if errors:
                    raise errors[0]
                return [answer.result() for answer in started]
            finally:
                stop.set()

    def _asked(self, prompt: Prompt) -> dict[str, Any]:
        return {"model": self.model, "messages": _messages(prompt)}


def read_scores(continuations: Sequence[str], tokens: Sequence[tuple[str, float]]) -> Scores:
    """Return scores of `continuations` from the likeliest first tokens of an answer, as (text, log-probability).

    The rule is that of `EndpointModel.score`. `greedy` marks the continuation that the likeliest token speaks for.
    """
    plain = [continuation.strip() for continuation in continuations]
    mass = [0.0] * len(plain)
    top = max(range(len(tokens)), key=lambda i: tokens[i][1], default=-1)
    best = ""
    for i, (token, value) in enumerate(tokens):
        said = token.strip()
        meant = {text for text in plain if said and text.startswith(said)}
        if len(meant) != 1:
            continue
        (one,) = meant
        mass = [share + math.exp(value) * (text == one) for text, share in zip(plain, mass, strict=True)]
        best = one if i == top else best
    nothing = -math.inf if not any(mass) else _UNLISTED
    return Scores(
        log_probabilities=tuple(min(0.0, math.log(share)) if share else nothing for share in mass),
        tokens=(1,) * len(plain),
        greedy=tuple(text == best for text in plain),
    )


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    # A lone surrogate has no UTF-8, so no server could be sent it.
    return [{"role": m.role, "content": m.content.encode("utf-8", "replace").decode()} for m in prompt.messages]
