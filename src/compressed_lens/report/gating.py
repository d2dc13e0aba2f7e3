"""Rulings on a policy as other programs read them: JUnit XML, and a summary in Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from compressed_lens.comparison.gating import Ruling
from compressed_lens.report.formatting import bounds, counted, difference, difference_unit
from compressed_lens.report.headline import Labels
from compressed_lens.report.markdown_text import escaped, table
from compressed_lens.report.words import SYMBOLS
from compressed_lens.terminal import visible


def junit(rulings: Sequence[Ruling], *, name: str) -> str:
    """Return rulings as JUnit XML: a suite a model, a test case a (variant, use), its measures as output.

    Args:
        rulings: What `rulings` returns.
        name: Name of the run.
    """
    failed = sum(not one.passed for one in rulings)
    root = ElementTree.Element("testsuites", name=f"clens gate {visible(name)}", tests=str(len(rulings)))
    root.set("failures", str(failed))
    for model, group in groupby(rulings, key=lambda one: one.model):
        own = list(group)
        suite = ElementTree.SubElement(root, "testsuite", name=visible(model), tests=str(len(own)), errors="0")
        suite.set("failures", str(sum(not one.passed for one in own)))
        for one in own:
            case = ElementTree.SubElement(
                suite, "testcase", classname=visible(f"{model}.{one.variant}"), name=one.name, time="0"
            )
            if not one.passed:
                failure = ElementTree.SubElement(case, "failure", message=visible(one.reason), type="policy")
                failure.text = visible(one.reason)
            ElementTree.SubElement(case, "system-out").text = visible("\n".join([one.reason, *_measures(one)]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def summary(rulings: Sequence[Ruling], sentences: Sequence[str], *, name: str) -> str:
    """Return rulings as Markdown: the recommendation, a table variants x uses, and what failed.

    Args:
        rulings: What `rulings` returns.
        sentences: The recommendation.
        name: Name of the run.
    """
    failed = [one for one in rulings if not one.passed]
    head = f"{counted(len(failed), 'requirement')} not met" if failed else "every requirement met"
    lines = [f"## {'❌' if failed else '✅'} {escaped(name)}: {head}", "", " ".join(map(escaped, sentences)), ""]
    names = list(dict.fromkeys(one.name for one in rulings))
    several = len({one.model for one in rulings}) > 1
    rows = []
    for (model, variant), group in groupby(rulings, key=lambda one: (one.model, one.variant)):
        cells = {one.name: _cell(one) for one in group}
        rows.append([escaped(f"{variant} ({model})" if several else variant), *(cells.get(n, "") for n in names)])
    lines += table(["Variant", *(n.capitalize() for n in names)], rows)
    for one in failed:
        lines.append(f"- **{escaped(one.variant)}**, {one.name}: {escaped(one.reason)}")
        lines += [f"  - {escaped(told)}" for told in _measures(one)]
    return "\n".join([*lines, ""])


def _cell(one: Ruling) -> str:
    sign = "✅" if one.passed else "❌"
    return sign if one.use is None else f"{sign} {SYMBOLS[one.use.verdict]} {one.use.verdict}"


def _measures(one: Ruling) -> list[str]:
    """Return a line for each measure a ruling rests on."""
    figures = () if one.use is None else one.use.figures
    labels, lines = Labels(figures), []
    for figure in figures:
        paired, unit = figure.paired, figure.measure.unit
        assert paired is not None
        told = f"{difference(paired.estimate, unit)} {difference_unit(unit)} {bounds(paired.low, paired.high, unit)}"
        margin = f", margin {difference(figure.margin, unit, sign=False)}" if figure.margin is not None else ""
        needs = f", needs n = {figure.needed:,}" if figure.needed is not None else ""
        lines.append(f"{labels.place(figure)}: {figure.verdict}, {told}{margin}, n = {paired.n:,}{needs}")
    return lines
