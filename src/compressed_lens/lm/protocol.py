"""What any model can be asked, whatever its format: the vocabulary shared by `lm`, `engine` and the analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

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
    """Ask for a continuation of at most `max_new_tokens` tokens.

    Attributes:
        stop: The answer ends before the first of these strings (the end token always ends it).
        temperature: 0 is greedy; above it the answer is drawn, from random numbers that depend on `seed` and the
            prompt alone and not on what else is in the batch.
        seed: Which draw; without meaning at temperature 0.
    """

    prompt: Prompt
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Score:
    """Ask for the log-probability of each continuation after the same prompt."""

    prompt: Prompt
    continuations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Ask for every token of one continuation, teacher-forced after the prompt.

    A sequence-to-sequence model reads the prompt in its encoder and the continuation, up to its end token, in its
    decoder.

    Attributes:
        keep: Whether the answer is worth writing to disk; probes by the thousand are not.
    """

    prompt: Prompt
    continuation: str
    keep: bool = True


@dataclass(frozen=True, kw_only=True)
class Read:
    """Ask for the log-probability of every token of a plain text (see `HFModel.token_log_probabilities`)."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Ask for a vector that stands for the meaning of a text: the mean of its tokens' last hidden states."""

    text: str


AttributionMethod = Literal["gradient_x_input", "integrated_gradients"]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """Ask how much each token of a part of the prompt speaks for `target` as the answer.

    Attributes:
        within: The part of the prompt of interest, word for word; its last occurrence counts.
        method: Gradient times input embedding, or integrated gradients from the zero embedding.
        steps: Points on the path of integrated gradients (midpoint rule).
    """

    prompt: Prompt
    target: str
    within: str
    method: AttributionMethod = "gradient_x_input"
    steps: int = 16


class Inspector(Protocol):
    """A way to look inside a model: a frozen dataclass of settings (see `lm.inspections`).

    Its fields are JSON types, prompts, or tuples of these. A field `target` is an answer whose first token counts, a
    field `mention` a part of the prompt, word for word, of which the last occurrence counts.

    Where the cost depends much on the number of blocks, a method `passes_in(blocks)` tells it, for `clens plan`.
    """

    @property
    def passes(self) -> int:
        """About how many forward passes over the prompt it costs."""

    runs: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Ask what goes on inside the model at one place of a prompt.

    Attributes:
        by: What is looked at and how: one of `lm.inspections`.
    """

    prompt: Prompt
    by: Inspector


Request = Generate | Score | Trace | Read | Embed | Attribute | Inspect


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request to another model than the one under study.

    Attributes:
        to: "full" for the full-precision model, or the name of a judge of the study; "self" is the model under study.
    """

    to: str
    request: Request


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


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What a model says about each token of a text it is made to read.

    Attributes:
        log_probabilities: Of each token, in nats, at most 0.
        log_odds: log p - log(1 - p) of each token, in nats, computed from the logits and so exact where p is near 1.
            Empty for `Read`.
    """

    log_probabilities: tuple[float, ...]
    log_odds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A vector for a text, not normalized."""

    vector: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Contributions of tokens.

    Attributes:
        spans: Half-open character span of every token, within `Attribute.within`, in order.
        values: Contribution of each to the target's log-probability, in nats; positive speaks for the target.
    """

    spans: tuple[tuple[int, int], ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found inside a model: JSON types by name, as the inspection's docstring says."""

    values: Mapping[str, Any]


Response = Generation | Scores | Traced | Embedding | Attribution | Inspection


class Answering(Protocol):
    """Any model that can be asked something: has an identity, and a method for each kind of request it answers.

    The methods are those of `METHODS`; each takes a list of requests of its kind and `batch_tokens`, and returns the
    responses in order. A model need not have them all.
    """

    @property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer and numeric settings; two different functions never share it."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Return what the model reads for a prompt, as numbers that identify it."""


METHODS: dict[type, str] = {
    Generate: "generate",
    Score: "score",
    Trace: "trace",
    Read: "read",
    Embed: "embed",
    Attribute: "attribute",
    Inspect: "inspect",
}


@runtime_checkable
class LanguageModel(Protocol):
    """The one door to a model. Implementations: `lm.hf.HFModel`; served endpoints answer part of it."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer and numeric settings; two different functions never share it."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a rendered prompt, with exactly one BOS where the model uses one."""

    def generate(self, requests: Sequence[Generate], *, batch_tokens: int = 8192) -> list[Generation]:
        """Answer every request, in order; batches are sorted by length and bounded by `batch_tokens`."""

    def score(self, requests: Sequence[Score], *, batch_tokens: int = 8192) -> list[Scores]:
        """Score every request, in order; each prompt's prefix is computed once for its continuations."""
