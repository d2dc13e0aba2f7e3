"""One rating run against an endpoint, kept in a run folder: in this process, or as `python -m tests.judging.client`."""

from __future__ import annotations

import sys
from pathlib import Path

from compressed_lens.analyses.base import Record
from compressed_lens.engine import Engine, Job
from compressed_lens.judging.rating import Rating
from compressed_lens.lm.endpoint import EndpointModel
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.store import Store
from compressed_lens.study.schema import Study
from compressed_lens.tasks import load_task

ITEMS, WINDOW, CONCURRENCY = 16, 8, 3
RATING = Rating(judges=("judge",), mode="parsed", judge_tokens=2, max_new_tokens=24)


def rate(folder: Path, url: str, judge: Path, *, model: HFModel | None = None, patience: float = 300) -> None:
    """Rate the explanations of the first items; what is in `folder` is not asked again."""
    study = Study.model_validate(
        {
            "name": "judged",
            "models": [{"name": "m", "path": "reference"}],
            "tasks": ["testbed-reviews"],
            "analyses": ["rating"],
        }
    )
    task = load_task("testbed-reviews", limit=ITEMS)
    studied = model or HFModel.load(locate_model("reference"), device="cpu")
    endpoint = EndpointModel(url, str(judge), patience=patience, concurrency=CONCURRENCY, name="judge")
    with Store.create(folder, study) as store:
        engine = Engine(studied, cache=store.responses, window=WINDOW, others=lambda _: endpoint)

        def keep(job: Job, record: Record) -> None:
            store.write_record("cell", job.item.id, 0, record)

        jobs = [Job(key=(item.id, 0), analysis=RATING, task=task, item=item) for item in task.items]
        engine.run(jobs, keep, done=set(store.done("cell")))
    endpoint.close()


if __name__ == "__main__":
    rate(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
