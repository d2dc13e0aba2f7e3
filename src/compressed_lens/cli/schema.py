"""`clens schema`."""

from __future__ import annotations

import typer

from compressed_lens.cli.output import show_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file, for editors that check and complete YAML.

    \b
    clens schema > study.schema.json
    # then, as the first line of study.yaml:
    # yaml-language-server: $schema=study.schema.json
    """
    from compressed_lens.study.schema import json_schema

    show_json(json_schema())
