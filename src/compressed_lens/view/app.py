"""The server's few addresses: the page at /, and under /api/ what its explorer asks for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi import Query as Parameters
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from compressed_lens.errors import LensError
from compressed_lens.view.guard import Guard
from compressed_lens.view.query import Query, Show
from compressed_lens.view.snapshot import RunView, Snapshot
from compressed_lens.web import App

_MOST_ROWS = 1000


class Asked(BaseModel):
    """The parameters of /api/rows."""

    model_config = ConfigDict(extra="forbid")

    model: str
    task: str
    analysis: str
    variant: str = ""
    show: Show = "all"
    measure: str = ""
    group: str = ""
    reason: str = ""
    search: str = ""
    item: str | None = None
    repeat: int = 0
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=_MOST_ROWS)

    def query(self) -> Query:
        """Return what is asked of the series."""
        return Query(**{name: getattr(self, name) for name in Query.__dataclass_fields__})


def create_app(folder: Path, *, names: Collection[str] = ()) -> App:
    """Return the application that serves a run.

    | address | answers |
    |---|---|
    | `/` | the report; its explorer shows all records |
    | `/api/series` | every (model, task, analysis) that has records |
    | `/api/head?model=&task=&analysis=` | variants, measures, groups, reasons of failure; reads what is new |
    | `/api/rows?…` | `limit` of the rows that a query leaves (`Asked`), from `offset` on; counts; the place of `item` |
    | `/api/item?…&item=&repeat=` | everything about one item |

    Args:
        folder: Folder of the run.
        names: Host names besides `localhost` under which it may be asked.

    Raises:
        RunError: No run there, or a damaged or foreign file.
    """
    view = RunView(folder)
    app = FastAPI(title="clens view", docs_url=None, redoc_url=None, openapi_url=None)

    def series(model: str, task: str, analysis: str, *, fresh: bool = False) -> Snapshot:
        try:
            return view.snapshot((model, task, analysis), fresh=fresh)
        except KeyError:
            raise HTTPException(404, f"The run has no analysis '{analysis}' of task '{task}'.") from None

    @app.exception_handler(LensError)
    def explained(request: Request, error: LensError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)

    @app.get("/")
    def page() -> HTMLResponse:
        text, policy = view.page()
        return HTMLResponse(text, headers={"content-security-policy": f"{policy}; frame-ancestors 'none'"})

    @app.get("/api/series")
    def all_series() -> dict[str, Any]:
        return {"series": view.series()}

    @app.get("/api/head")
    def head(model: str, task: str, analysis: str) -> dict[str, Any]:
        return series(model, task, analysis, fresh=True).about

    @app.get("/api/rows")
    def rows(asked: Annotated[Asked, Parameters()]) -> dict[str, Any]:
        one = series(asked.model, asked.task, asked.analysis)
        try:
            found = one.find(asked.query())
        except KeyError as error:
            raise HTTPException(404, f"The analysis has no variant or measure {error}.") from None
        wanted = -1 if asked.item is None else one.places.get((asked.item, asked.repeat), -1)
        place = (found.rows == wanted).nonzero()[0]
        return {
            "total": len(found.rows),
            "counts": found.counts,
            "place": int(place[0]) if len(place) else -1,
            "rows": [one.row(int(row), found) for row in found.rows[asked.offset : asked.offset + asked.limit]],
        }

    @app.get("/api/item")
    def one_item(model: str, task: str, analysis: str, item: str, repeat: int = 0) -> dict[str, Any]:
        one = series(model, task, analysis)
        if (item, repeat) not in one.places:
            raise HTTPException(404, f"The analysis has no item '{item}'.")
        return one.item(one.places[item, repeat])

    return Guard(app, names=names)
