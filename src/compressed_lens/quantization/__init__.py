"""Quantization: recipes, variants kept in a content-keyed cache, their audit, and the integrity gate."""

from __future__ import annotations

from compressed_lens.quantization.audit import Audit, Facts, LayerAudit, audit
from compressed_lens.quantization.recipe import RECIPES, Calibration, Recipe, resolve
from compressed_lens.quantization.variant import Prepared, prepare, quantize, variant_key

_HERE = "compressed_lens.quantization"
_BNB = "bitsandbytes 0.50"
_LLMC = "llm-compressor 0.14"


def _register() -> None:
    seconds, hessian, search = "seconds, no text", "minutes, calibration text", "minutes, calibration text, slowest"
    bnb, gptq, awq, rtn = (f"{_HERE}.{name}" for name in ("bitsandbytes", "gptq", "awq", "rtn"))
    for name, target, summary, cost, source in (
        ("bnb-8bit", f"{bnb}:INT8", "LLM.int8(): 8-bit rows", seconds, f"Dettmers 2022; {_BNB}"),
        ("bnb-4bit", f"{bnb}:NF4", "4-bit NormalFloat, groups of 64 (same as bnb-4bit-nf4)", seconds, f"Dettmers 2023; {_BNB}"),
        ("bnb-4bit-nf4", f"{bnb}:NF4", "4-bit NormalFloat, groups of 64", seconds, f"Dettmers 2023; {_BNB}"),
        ("bnb-4bit-fp4", f"{bnb}:FP4", "4-bit float, groups of 64 (the library's own default)", seconds, f"{_BNB}"),
        ("bnb-4bit-nf4-double", f"{bnb}:NF4_DOUBLE", "NF4 with its scales quantized to 8 bits", seconds, f"Dettmers 2023; {_BNB}"),
        ("gptq-8bit", f"{gptq}:BITS_8", "GPTQ, 8 bits, groups of 128", hessian, f"Frantar 2022; {_LLMC}"),
        ("gptq-4bit", f"{gptq}:BITS_4", "GPTQ, 4 bits, groups of 128", hessian, f"Frantar 2022; {_LLMC}"),
        ("gptq-3bit", f"{gptq}:BITS_3", "GPTQ, 3 bits, groups of 128", hessian, f"Frantar 2022; {_LLMC}"),
        ("gptq-2bit", f"{gptq}:BITS_2", "GPTQ, 2 bits, groups of 128", hessian, f"Frantar 2022; {_LLMC}"),
        ("awq-8bit", f"{awq}:BITS_8", "AWQ, 8 bits with zero points, groups of 128", search, f"Lin 2023; {_LLMC}"),
        ("awq-4bit", f"{awq}:BITS_4", "AWQ, 4 bits with zero points, groups of 128", search, f"Lin 2023; {_LLMC}"),
        ("awq-3bit", f"{awq}:BITS_3", "AWQ, 3 bits with zero points, groups of 128", search, f"Lin 2023; {_LLMC}"),
        ("rtn-8bit", f"{rtn}:BITS_8", "round to nearest, 8 bits, groups of 128", seconds, _LLMC),
        ("rtn-4bit", f"{rtn}:BITS_4", "round to nearest, 4 bits, groups of 128", seconds, _LLMC),
        ("rtn-3bit", f"{rtn}:BITS_3", "round to nearest, 3 bits, groups of 128", seconds, _LLMC),
        ("rtn-2bit", f"{rtn}:BITS_2", "round to nearest, 2 bits, groups of 128", seconds, _LLMC),
    ):
        RECIPES.add(name, target, summary, cost=cost, source=source)


_register()

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
