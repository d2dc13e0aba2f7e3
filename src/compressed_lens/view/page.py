"""The report's page as it is served: items come from the server, not from the page."""

from __future__ import annotations

import re

from compressed_lens.report.page import policy

_BLOCKS = re.compile(r'<script type="application/json" class="series"[^>]*>[^<]*</script>\n?')
_POLICY = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")([^"]*)(">)')
_EXPLORER = '<div id="explorer" hidden>'
_CLOSED = "default-src 'none';"


def served(text: str) -> tuple[str, str] | None:
    """Return a report's page whose explorer asks the server, and the Content-Security-Policy to send with it.

    The policy is the one that this version writes, except that the page may fetch from where it comes from. None for a
    page with any other, whatever its scripts are: another version's, or a stranger's.
    """
    found, ours = _POLICY.search(text), policy()
    if found is None or found[2] != ours or text.count(_EXPLORER) != 1:
        return None
    allowed = ours.replace(_CLOSED, f"{_CLOSED} connect-src 'self';")
    text = _POLICY.sub(lambda match: match[1] + allowed + match[3], text, count=1)
    text = text.replace(_EXPLORER, '<div id="explorer" data-from="api" hidden>')
    return _BLOCKS.sub("", text), allowed
