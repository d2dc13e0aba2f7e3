"""From requests to token ids, with every reason to refuse a request because of its own length or form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from compressed_lens.errors import ModelError
from compressed_lens.lm.protocol import Attribute, Embed, Inspect, Prompt, Read, Request, Score, Trace
from compressed_lens.lm.text import Rendered, encode_plain, join, render, uses_bos

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEMBERED = 4096

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The tokens of a prompt that belong to a part of its text.

    Attributes:
        places: Index of each among the prompt's ids.
        spans: Its half-open character span within the part, clipped to it.
    """

    places: Ids
    spans: tuple[tuple[int, int], ...]


class Reader:
    """What one causal model reads for each request.

    Args:
        tokenizer: The model's tokenizer.
        context: Most tokens it reads at once; None for no limit.
        name: What to call the model in messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, context: int | None, name: str) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._name = name
        self.render: Callable[[Prompt], Rendered] = lru_cache(_REMEMBERED)(lambda p: render(tokenizer, p))
        self.options: Callable[[Score], list[Ids]] = lru_cache(_REMEMBERED)(self._options)

    def check(self, request: Request) -> None:
        """Raise what executing this request would raise because of the request alone.

        Raises:
            ModelError: The prompt cannot be rendered, something is too long for the context, or there is nothing to
                read.
        """
        match request:
            case Score():
                self.options(request)
            case Trace():
                self.continued(request.prompt, request.continuation)
            case Attribute():
                self.targeted(request.prompt, request.target)
                self.part(request.prompt, request.within)
            case Inspect():
                self._inspected(request)
            case Embed():
                self.text(request.text)
            case Read():
                self.whole(request.text)
            case _:
                self.check_length(len(self.render(request.prompt).ids) + 1)

    def prompt(self, prompt: Prompt) -> Ids:
        """Return the ids of a prompt that fits into the context."""
        ids = self.render(prompt).ids
        self.check_length(len(ids))
        return ids

    def continued(self, prompt: Prompt, continuation: str) -> tuple[Ids, Ids]:
        """Return the ids of a prompt and those of what follows it, by the seam rule of `lm.text`."""
        rendered = self.render(prompt)
        ids = join(self._tokenizer, rendered, continuation)[len(rendered.ids) :]
        self.check_length(len(rendered.ids) + len(ids))
        return rendered.ids, ids

    def targeted(self, prompt: Prompt, target: str) -> tuple[Ids, Ids]:
        """Return the ids of a prompt and those of the answer whose gradient is asked."""
        ids, answer = self.continued(prompt, target)
        if not answer:
            raise ModelError("The target of a gradient is empty.", fix="Give at least one character.")
        return ids, answer

    def part(self, prompt: Prompt, within: str) -> Part:
        """Return the tokens whose characters overlap the last occurrence of `within` in the rendered prompt."""
        rendered = self.render(prompt)
        start = rendered.text.rfind(within) if within else -1
        if start < 0:
            raise ModelError(
                f"The text {within[:40]!r} is not in the prompt as the model reads it.",
                fix="Give it word for word; a chat template may strip white space at its ends.",
            )
        if not rendered.char_offsets:
            raise ModelError(
                f"The tokenizer of {self._name} cannot tell which characters a token stands for.",
                fix="Add a tokenizer.json (a fast tokenizer) to the model's folder.",
            )
        end = start + len(within)
        found = [(place, a, b) for place, (a, b) in enumerate(rendered.char_offsets) if a < end and b > start]
        return Part(
            places=tuple(place for place, _, _ in found),
            spans=tuple((max(a, start) - start, min(b, end) - start) for _, a, b in found),
        )

    def text(self, text: str) -> Ids:
        """Return the ids of a plain text that is not empty and fits into the context, BOS included."""
        ids = self.whole(text)
        if len(ids) == self.front:
            raise ModelError("An empty text has no embedding.", fix="Leave out items without text.")
        self.check_length(len(ids))
        return ids

    def whole(self, text: str) -> Ids:
        """Return the ids of a plain text of any length, BOS included."""
        bos = (int(self._tokenizer.bos_token_id),) if self.front else ()
        return bos + encode_plain(self._tokenizer, text)

    @property
    def front(self) -> int:
        """Number of tokens (BOS: 1, else 0) in front of every text."""
        return int(uses_bos(self._tokenizer))

    def check_length(self, tokens: int) -> None:
        """Raise ModelError when so many tokens do not fit into the context."""
        if self._context is not None and tokens > self._context:
            raise ModelError(
                f"{tokens} tokens do not fit into the {self._context} the model {self._name} reads at once.",
                fix="Use a shorter prompt or a model with a longer context.",
            )

    def place(self, prompt: Prompt, mention: str) -> int:
        """Return the index of the last token of the last occurrence of `mention`; of the prompt, where it is empty."""
        return self.part(prompt, mention).places[-1] if mention else len(self.prompt(prompt)) - 1

    def first(self, prompt: Prompt, target: str, mention: str = "") -> int:
        """Return the first token of `target` after `prompt` (or after its part up to the last `mention`)."""
        if mention:
            text = self.render(prompt).text
            prompt = Prompt(text=text[: text.rfind(mention) + len(mention)])
        return self.targeted(prompt, target)[1][0]

    def _inspected(self, request: Inspect) -> None:
        """Check the prompt, target and mention of an inspection, and those of whatever it holds."""
        self.check_length(len(self.render(request.prompt).ids) + 1)
        for held in (request.by, *getattr(request.by, "examples", ())):
            prompt = getattr(held, "prompt", request.prompt)
            if target := getattr(held, "target", ""):
                self.targeted(prompt, target)
            if mention := getattr(held, "mention", ""):
                self.part(prompt, mention)
        for name in ("other", "identity", "donor"):
            prompt = getattr(request.by, name, None)
            if prompt is not None:
                self.check_length(len(self.render(prompt).ids) + 1)
        if given := getattr(request.by, "donor_mention", ""):
            self.part(getattr(request.by, "donor", None) or request.prompt, given)

    def _options(self, request: Score) -> list[Ids]:
        """Return the ids of every continuation of a request."""
        rendered = self.render(request.prompt)
        options = [join(self._tokenizer, rendered, text)[len(rendered.ids) :] for text in request.continuations]
        self.check_length(len(rendered.ids) + max(map(len, options), default=0))
        return options
