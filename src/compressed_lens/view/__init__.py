"""A run on the own machine's browser: its report, and every item straight from the database."""

from compressed_lens.view.server import serve

__all__ = ["serve"]
