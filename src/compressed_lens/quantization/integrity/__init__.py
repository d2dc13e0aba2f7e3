"""The integrity gate: is a variant's text about its weights, or about a broken kernel, checkpoint or tokenizer?"""

from __future__ import annotations

from compressed_lens.quantization.integrity.findings import Finding, Integrity, Limits, Severity
from compressed_lens.quantization.integrity.gate import check

__all__ = ["Finding", "Integrity", "Limits", "Severity", "check"]
