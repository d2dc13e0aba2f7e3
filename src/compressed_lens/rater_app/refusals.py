"""Ways for a request to end other than with the page it asked for."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request


class Moved(Exception):
    """The rater is elsewhere.

    Args:
        to: Address of ours.
    """

    def __init__(self, to: str) -> None:
        super().__init__(to)
        self.to = to


class Refused(Exception):
    """A request gets a page with a message, and nothing else.

    Args:
        key: The message.
        status: Status of the answer.
        what: What is noted for the admin; "" for what is nobody's fault.
        rater: Whose request it was, where that is known.
        language: Language of the page; "" for the one that the browser prefers.
    """

    def __init__(self, key: str, status: int, what: str = "", *, rater: str = "", language: str = "") -> None:
        super().__init__(key)
        self.key, self.status, self.what, self.rater, self.language = key, status, what, rater, language


def preferred(request: Request, languages: Sequence[str]) -> str:
    """Return the language asked for by `?lang=`, else the one that the browser likes best, else the first."""
    asked = request.query_params.get("lang", "")
    if asked in languages:
        return asked
    wishes = []
    for place, part in enumerate(request.headers.get("accept-language", "")[:200].split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            wishes.append((-float(quality or 1), place, tag.lower()))
        except ValueError:
            continue
    for _, _, tag in sorted(wishes):
        for language in languages:
            if language.lower() == tag or language.lower().partition("-")[0] == tag.partition("-")[0]:
                return language
    return languages[0]
