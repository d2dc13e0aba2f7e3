"""What the two papers state, what follows from their published cells, and what our own runs show beside it."""

from compressed_lens.claims.claim import Claim, Part, Recomputed, claim, unpublished
from compressed_lens.claims.ledger import CLAIMS, Entry, ledger, ledger_frame, ledger_json, ledger_markdown
from compressed_lens.claims.own import OwnFigure, OwnRun
from compressed_lens.claims.published import Published

__all__ = [
    "CLAIMS",
    "Claim",
    "Entry",
    "OwnFigure",
    "OwnRun",
    "Part",
    "Published",
    "Recomputed",
    "claim",
    "ledger",
    "ledger_frame",
    "ledger_json",
    "ledger_markdown",
    "unpublished",
]
