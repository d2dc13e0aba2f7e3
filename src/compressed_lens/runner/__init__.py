"""Drives one run: variants are made, checked and asked one after the other; every outcome goes to the store."""

from compressed_lens.runner.plan import Plan, plan
from compressed_lens.runner.results import Run, load_run
from compressed_lens.runner.run import resume, run

__all__ = ["Plan", "Run", "load_run", "plan", "resume", "run"]
