"""What any model can be asked, whatever its format: the vocabulary shared by `lm`, `engine` and the analyses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the model reads before it answers: a conversation, or plain text to be continued.

    Exactly one of `messages` and `text` is given. A conversation is rendered with the model's chat
    template where it has one, else as plain text (see `lm.text`). Plain `text` never gets a template.

    Attributes:
        messages: Turns; the last one is the user's.
        text: Text to be continued as it stands.
        prefill: Start of the assistant's answer, already decided (for instance "<new>").
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    prefill: str = ""


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Ask for a greedy continuation (temperature 0) of at most `max_new_tokens` tokens.

    Attributes:
        stop: The answer ends before the first of these strings (the end token always ends it).
    """

    prompt: Prompt
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Score:
    """Ask for the log-probability of each continuation after the same prompt."""

    prompt: Prompt
    continuations: tuple[str, ...]


Request = Generate | Score


@dataclass(frozen=True, kw_only=True)
class Generation:
    """An answer.

    Attributes:
        text: Decoded text, special tokens removed, stripped of nothing.
        tokens: Number of new tokens, the end token included.
        finished: Whether it ended by itself (end token or stop string) rather than at the limit.
    """

    text: str
    tokens: int
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Log-probabilities in nats, one per continuation, in the order asked.

    Attributes:
        log_probabilities: Sum over the continuation's tokens; always at most 0.
        tokens: Number of tokens of each continuation.
        greedy: Whether each continuation is what greedy decoding would give.
    """

    log_probabilities: tuple[float, ...]
    tokens: tuple[int, ...]
    greedy: tuple[bool, ...]


Response = Generation | Scores


@runtime_checkable
class LanguageModel(Protocol):
    """The one door to a model. Implementations: `lm.hf.HFModel`; later a served endpoint."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer and numeric settings; two different functions never share it."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a rendered prompt, with exactly one BOS where the model uses one."""

    def generate(self, requests: Sequence[Generate], *, batch_tokens: int = 8192) -> list[Generation]:
        """Answer every request, in order; batches are sorted by length and bounded by `batch_tokens`."""

    def score(self, requests: Sequence[Score], *, batch_tokens: int = 8192) -> list[Scores]:
        """Score every request, in order; each prompt's prefix is computed once for its continuations."""
