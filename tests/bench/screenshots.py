"""Pictures of the page, docs/page*.png: `python -m tests.bench.screenshots`.

The shipped models are served and really used: seeds are fixed, so the same pictures and the same
text come again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.bench.server import serving
from tests.browser import chromium

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_MOST_BYTES = 300_000


@dataclass(frozen=True)
class Shot:
    """A picture to take."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]


SHOTS: Sequence[Shot] = (
    Shot("page", 1440, 1080, "light"),
    Shot("page-dark", 1440, 1080, "dark"),
    Shot("page-phone", 390, 844, "light"),
)


def _use(page: Page, url: str) -> None:
    """Draw, classify one of the pictures, write, and wait until the figures are in."""
    page.goto(url)
    page.get_by_role("button", name="frog", exact=True).click()
    page.get_by_role("button", name="ship", exact=True).click()
    page.locator("#draw-seed").fill("5")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.locator("#gallery button").first.click()
    page.locator("#bars li:not([aria-hidden])").first.wait_for()
    page.locator("#write-seed").fill("7")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("Finished").wait_for()
    page.locator("#text").evaluate("text => { text.scrollTop = 0; }")


def _visit(url: str) -> None:
    """Some requests for the live figures to tell of."""
    with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(8) as pool:
        for seed in range(12):
            png = client.post("/v1/sample", json={"n": 1 + seed % 4, "seed": seed}).content
            list(pool.map(lambda _: client.post("/v1/classify", content=png), range(4 + seed * 2)))  # noqa: B023
            client.post("/v1/completions", json={"prompt": "A", "max_tokens": 50, "seed": seed})


def _take(browser: Browser, url: str, shot: Shot) -> Path:
    page = browser.new_page(
        viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme
    )
    _use(page, url)
    for _ in range(3):
        _visit(url)
        page.wait_for_timeout(1200)
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    file = DOCS / f"{shot.name}.png"
    page.screenshot(path=file, full_page=True)
    page.close()
    with Image.open(file) as image:  # a palette: a third of the size
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    assert file.stat().st_size < _MOST_BYTES, f"{file} has {file.stat().st_size} bytes"
    return file


def main() -> None:
    """Serve, use, take."""
    with (
        serving(ROOT / "models", cores=os.sched_getaffinity(0)) as server,
        chromium() as browser,
    ):
        for shot in SHOTS:
            print(_take(browser, f"http://127.0.0.1:{server.port}/", shot))


if __name__ == "__main__":
    main()
