"""A human study with hostile texts, served by a real `clens human serve`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.human.paper_run import build_run
from tests.human.serving import serving
from tests.rater_app.people import Study

from compressed_lens.human.plan import create
from compressed_lens.human.reading import default_design


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Two models, four variants, both kinds, five items of which most have hostile texts; 48 raters of six pages."""
    root = tmp_path_factory.mktemp("rater-app")
    run = build_run(root / "gptq-against-awq", hostile=True, models=2, items=8)
    default = default_design()
    sample = default.sample.model_copy(update={"items": 5, "separate_items": False, "ratings": 3})
    folder = create(run, default.model_copy(update={"sample": sample}))
    with serving(run, root / "server.log") as server:
        made = Study(run=run, folder=folder, server=server, links={})
        with made.store() as store:
            made.links.update(store.new_links())
        yield made
