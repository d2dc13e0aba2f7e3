"""`clens gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.output import show, show_table, write
from compressed_lens.errors import PolicyError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FILE = "FILE"


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="What variants must show; default: non-inferior in every use that was measured.", metavar=_FILE
        ),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the rulings as JUnit XML, too.", metavar=_FILE)] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Append a summary in Markdown; on GitHub that is done by itself.",
            metavar=_FILE,
            envvar="GITHUB_STEP_SUMMARY",
        ),
    ] = None,
) -> None:
    """Hold the variants of a run against a policy; exit code 8 when one breaks it.

    Each variant must have passed the integrity gate, and show in every use that the policy names what it requires:
    equivalent, non-inferior, or not worse (which an undecided use passes). A use that is required but was not measured
    breaks the policy. A policy file:

    \b
    require: {task: non-inferior, knowledge: non-inferior, quality: not worse, faithfulness: not worse}
    variants: ["*-4bit"]            # default: all
    margins: {accuracy: 0.01}       # default: the study's

    \b
    clens gate runs/study --policy policy.yaml --junit gate.xml
    """
    from compressed_lens.comparison import use_verdicts
    from compressed_lens.comparison.gating import rulings
    from compressed_lens.comparison.measures import figures
    from compressed_lens.report import gating
    from compressed_lens.report.recommendation import recommendation
    from compressed_lens.report.run_data import RunData
    from compressed_lens.study.margins import check_margins
    from compressed_lens.study.policy import load_policy

    data = RunData.read(run)
    held = None if policy is None else load_policy(policy)
    found = data.figures
    if held is not None and held.margins:
        measured = ((f.analysis, f.measure.name, f.measure.family) for f in found)
        check_margins(held.margins, measured, where=str(policy))
        found = figures(data.series, data.variant_list, margins={**data.margins, **held.margins})
    verdicts = use_verdicts(found, data.variant_list)
    ruled = rulings(verdicts, data.variant_list, held)
    name = str(data.study.get("name") or run.name)
    if junit is not None:
        write(junit, gating.junit(ruled, name=name))
    told = recommendation(verdicts, found, data.variant_list, margins_moved=data.margins_moved)
    if summary is not None:
        write(summary, gating.summary(ruled, [sentence.text for sentence in told], name=name), append=True)
    show_table(
        ["model", "variant", "use", "", "why"],
        [(one.model, one.variant, one.name, "passed" if one.passed else "FAILED", one.reason) for one in ruled],
    )
    show("\nThe chance that a variant is falsely called worse in any use is at most 5 %.")
    broken = [one for one in ruled if not one.passed]
    if broken:
        first = broken[0]
        more = f" ({len(broken) - 1} more after this one.)" if len(broken) > 1 else ""
        raise PolicyError(f"{first.variant} breaks the policy in {first.name}: {first.reason}{more}")
