"""Drives analyses over items: gathers their requests, asks every question once, and streams records."""

from compressed_lens.engine.cache import MemoryCache, ResponseCache
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.engine.ledger import Ledger

__all__ = ["Engine", "Job", "Ledger", "MemoryCache", "ResponseCache"]
