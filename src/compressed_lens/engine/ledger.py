"""What a run costs in forward tokens, the measure that does not depend on the machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

from compressed_lens.lm.protocol import Generation, Response, Scores, Traced


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Counts over a run; ledgers of parts add up.

    Attributes:
        requests: Requests made by analyses.
        executed_requests: Requests put to the model.
        planned_tokens: Forward tokens of the plain way: every request alone, prompt and continuation together, once
            for each continuation.
        cached_tokens: The part of `planned_tokens` whose answer was already known or asked twice.
        executed_tokens: Forward tokens really run, padding not counted.
        seconds: Time spent in the model.
    """

    requests: int = 0
    executed_requests: int = 0
    planned_tokens: int = 0
    cached_tokens: int = 0
    executed_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: Ledger) -> Ledger:
        return Ledger(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})

    @property
    def saved_tokens(self) -> int:
        """Forward tokens the plain way would have needed on top."""
        return self.planned_tokens - self.executed_tokens


def plain_cost(prompt_tokens: int, response: Response) -> int:
    """Return the forward tokens of one request run alone; the last token of an answer is never read."""
    match response:
        case Generation():
            return prompt_tokens + max(0, response.tokens - 1)
        case Scores():
            return sum(prompt_tokens + max(0, tokens - 1) for tokens in response.tokens)
        case Traced():
            return prompt_tokens + max(0, len(response.log_probabilities) - 1)
    return prompt_tokens
