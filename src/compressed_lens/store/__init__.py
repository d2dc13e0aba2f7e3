"""One run, one folder: an SQLite file that holds what was asked and every outcome, written as it is made."""

from compressed_lens.store.store import Store, plain

__all__ = ["Store", "plain"]
