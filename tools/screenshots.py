"""Pictures of a run's report for the README, in headless Chromium without network; equal runs give equal pictures.

python tools/screenshots.py RUN [FOLDER]     default folder: docs/images
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chromium import chromium
from playwright.sync_api import Browser

from compressed_lens.report import write_report

LARGEST = 300_000


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture: what is in its upper left corner, and how large and how bright it is.

    Attributes:
        place: Part of the address after #; "" is the top of the page. `item=` leads to the explorer.
        ready: What must be there before it is taken.
    """

    name: str
    place: str = ""
    ready: str = "h1"
    width: int = 1280
    height: int = 1000
    scheme: Literal["light", "dark"] = "light"


PICTURES = (
    Picture(name="report"),
    Picture(name="heat", place="overview", ready="#overview table.heat", height=760),
    Picture(name="forest", place="measures", ready="svg.forest"),
    Picture(name="explorer", place="item=&analysis=nle&variant=rtn-3bit&show=lost", ready=".side-card ins"),
    Picture(name="phone", width=390, height=844),
    Picture(name="dark", scheme="dark"),
)


def take(browser: Browser, address: str, picture: Picture, folder: Path) -> Path:
    """Take one picture.

    Raises:
        SystemExit: It is larger than a README should load.
    """
    size = {"width": picture.width, "height": picture.height}
    context = browser.new_context(viewport=size, color_scheme=picture.scheme, reduced_motion="reduce", locale="en-US")
    page = context.new_page()
    page.goto(f"{address}#{picture.place}" if picture.place else address)
    page.wait_for_selector(picture.ready, state="attached")
    if picture.place and "=" not in picture.place:
        # Sections above grow when they are first laid out.
        for _ in range(2):
            page.evaluate("(id) => document.getElementById(id).scrollIntoView()", picture.place)
            page.wait_for_timeout(200)
    path = folder / f"{picture.name}.png"
    page.wait_for_timeout(200)
    page.screenshot(path=path, animations="disabled", caret="hide")
    context.close()
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes; make its window smaller.")
    return path


def main(run: Path, folder: Path) -> None:
    """Write the run's report and take all pictures of it."""
    folder.mkdir(parents=True, exist_ok=True)
    address = write_report(run).resolve().as_uri()
    with chromium() as browser:
        for picture in PICTURES:
            print(take(browser, address, picture, folder))


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images"))  # noqa: PLR2004
