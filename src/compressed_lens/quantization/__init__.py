"""Quantization: recipes, variants kept in a content-keyed cache, their audit, and the integrity gate."""

from __future__ import annotations

from compressed_lens.quantization.audit import Audit, Facts, LayerAudit, audit
from compressed_lens.quantization.recipe import RECIPES, Calibration, Recipe, resolve
from compressed_lens.quantization.variant import Prepared, prepare, quantize, variant_key

_HERE = "compressed_lens.quantization"
_SECONDS = "seconds; no text"
_MINUTES = "seconds to minutes; calibration text"
_SEARCH = "minutes; calibration text; the slowest"

for _name, _target, _summary, _cost, _source in (
    ("bnb-8bit", "bitsandbytes:INT8", "LLM.int8(): 8 bits, a scale a row", _SECONDS, "arXiv:2208.07339, bitsandbytes"),
    ("bnb-4bit", "bitsandbytes:NF4", "the same as bnb-4bit-nf4", _SECONDS, "arXiv:2305.14314, bitsandbytes"),
    ("bnb-4bit-nf4", "bitsandbytes:NF4", "NormalFloat 4, groups of 64", _SECONDS, "arXiv:2305.14314, bitsandbytes"),
    ("bnb-4bit-nf4-double", "bitsandbytes:NF4_DOUBLE", "NF4, 8-bit scales", _SECONDS, "arXiv:2305.14314, bitsandbytes"),
    ("bnb-4bit-fp4", "bitsandbytes:FP4", "4-bit float, groups of 64; the library's default", _SECONDS, "bitsandbytes"),
    ("gptq-8bit", "gptq:BITS_8", "GPTQ, 8 bits, groups of 128", _MINUTES, "arXiv:2210.17323, llm-compressor"),
    ("gptq-4bit", "gptq:BITS_4", "GPTQ, 4 bits, groups of 128", _MINUTES, "arXiv:2210.17323, llm-compressor"),
    ("gptq-3bit", "gptq:BITS_3", "GPTQ, 3 bits, groups of 128", _MINUTES, "arXiv:2210.17323, llm-compressor"),
    ("gptq-2bit", "gptq:BITS_2", "GPTQ, 2 bits, groups of 128", _MINUTES, "arXiv:2210.17323, llm-compressor"),
    ("awq-8bit", "awq:BITS_8", "AWQ, 8 bits, zero points, groups of 128", _SEARCH, "arXiv:2306.00978, llm-compressor"),
    ("awq-4bit", "awq:BITS_4", "AWQ, 4 bits, zero points, groups of 128", _SEARCH, "arXiv:2306.00978, llm-compressor"),
    ("awq-3bit", "awq:BITS_3", "AWQ, 3 bits, zero points, groups of 128", _SEARCH, "arXiv:2306.00978, llm-compressor"),
    ("rtn-8bit", "rtn:BITS_8", "round to nearest, 8 bits, groups of 128", _SECONDS, "llm-compressor"),
    ("rtn-4bit", "rtn:BITS_4", "round to nearest, 4 bits, groups of 128", _SECONDS, "llm-compressor"),
    ("rtn-3bit", "rtn:BITS_3", "round to nearest, 3 bits, groups of 128", _SECONDS, "llm-compressor"),
    ("rtn-2bit", "rtn:BITS_2", "round to nearest, 2 bits, groups of 128", _SECONDS, "llm-compressor"),
):
    RECIPES.add(_name, f"{_HERE}.{_target}", _summary, cost=_cost, source=_source)

__all__ = [
    "RECIPES",
    "Audit",
    "Calibration",
    "Facts",
    "LayerAudit",
    "Prepared",
    "Recipe",
    "audit",
    "prepare",
    "quantize",
    "resolve",
    "variant_key",
]
