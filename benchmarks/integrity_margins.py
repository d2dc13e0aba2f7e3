"""Measure the integrity gate's margins: every preset and every planted broken variant of a model, as Markdown rows.

    PYTHONPATH=src:. python benchmarks/integrity_margins.py MODEL_FOLDER [--cache DIR] [--only NAME ...]

The table of docs/integrity.md is this program's output.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.quantization import broken

from compressed_lens.lm.hf import HFModel
from compressed_lens.quantization import RECIPES, prepare
from compressed_lens.quantization.integrity import Finding, Integrity, check

SHOWN = (
    ("kernel logits, short prompts", "logits, short"),
    ("kernel logits, long prompts", "long"),
    ("kernel divergence, short prompts", "KL, short"),
    ("gradient norm", "gradient norm"),
    ("live gradients", "live"),
    ("weights near the base", "layer error"),
    ("every group near the base", "group error"),
    ("weights point the base's way", "cosine"),
    ("degenerate repetition", "repetition"),
    ("perplexity", "excess loss"),
    ("divergence from full precision", "KL to full"),
)


def main() -> None:
    """Print one row a variant: measured value and, behind it, the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--only", nargs="*", default=None)
    options = parser.parse_args()
    cache = options.cache or Path(tempfile.mkdtemp())
    base = HFModel.load(options.model, device="cpu")
    print(f"| variant | verdict | {' | '.join(title for _, title in SHOWN)} | s |")
    print(f"|---|---|{'---|' * (len(SHOWN) + 1)}")
    if not options.only or "full" in options.only:
        print(_row("full", check(base, None, full=True)), flush=True)
    for name in RECIPES.names():
        if not options.only or name in options.only:
            made = prepare(options.model, name, cache_dir=cache)
            verdict = check(HFModel.load(made.folder, device="cpu"), base, audit=made.audit)
            print(_row(name, verdict), flush=True)
            gc.collect()
    for name, make in _broken(options.model, base, cache):
        if not options.only or name in options.only:
            candidate, truth = make()
            print(_row(name, check(candidate, truth)), flush=True)
            gc.collect()


Pair = tuple[HFModel, HFModel]


def _broken(model: Path, base: HFModel, cache: Path) -> Iterator[tuple[str, Callable[[], Pair]]]:
    def folder(recipe: str) -> Path:
        return prepare(model, recipe, cache_dir=cache).folder

    def loaded(recipe: str) -> HFModel:
        return HFModel.load(folder(recipe), device="cpu")

    def damaged(change: Callable[[Path, Path], Path], recipe: str) -> HFModel:
        return HFModel.load(change(folder(recipe), Path(tempfile.mkdtemp()) / "damaged"), device="cpu")

    yield "GPT-2, Conv1D left", lambda: broken.gpt2_with_nothing_quantized(base.tokenizer, Path(tempfile.mkdtemp()))
    yield "AWQ-8, clamped (control)", lambda: (broken.sound_awq_8bit(base), base)
    yield "AWQ-8, overflowing", lambda: (broken.overflowing_awq_8bit(base), base)
    yield "NaN scale", lambda: (damaged(broken.nan_scales, "rtn-4bit"), base)
    yield "two layers exchanged", lambda: (damaged(broken.exchanged_layers, "rtn-4bit"), base)
    yield "words in another order", lambda: (damaged(broken.misplaced_words, "rtn-2bit"), base)
    yield "bnb AVX512 kernel", lambda: (broken.avx512_trap(loaded("bnb-4bit")), base)
    yield "gradients a hundredth", lambda: (broken.with_kernel(loaded("rtn-4bit"), broken.attenuating), base)
    yield "dead gradients", lambda: (broken.with_kernel(loaded("rtn-4bit"), broken.dead), base)
    yield "wrong up to 50 rows", lambda: (broken.with_kernel(loaded("rtn-4bit"), broken.wrong_on_few_rows), base)
    yield "two token ids exchanged", lambda: (damaged(broken.two_ids_exchanged, "rtn-8bit"), base)
    foreign = broken.foreign_tokenizer(512)
    yield "foreign tokenizer", lambda: (HFModel(loaded("rtn-8bit").module, foreign, weights="x"), base)


def _row(name: str, verdict: Integrity) -> str:
    by_check = {f.check: f for f in verdict.findings}
    cells = [_cell(by_check.get(check)) for check, _ in SHOWN]
    return f"| {name} | {verdict.summary()} | {' | '.join(cells)} | {verdict.seconds:.1f} |"


def _cell(found: Finding | None) -> str:
    if found is None or found.value is None:
        return "–"
    shown = f"{found.value:.2g} / {found.limit:.2g}"
    return f"**{shown}**" if found.severity == "broken" else shown


if __name__ == "__main__":
    main()
