"""Looks at the site that `docs.make_site` built, in a headless Chromium: `python -m docs.view_site`.

It visits the first page, pages of the reference, the search, dark mode and the width of a phone, and saves
screenshots in build/screenshots. Faults are an error of a page, a request to another host, and a page that is
wider than a phone.
"""

import functools
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Browser, Page, Request, sync_playwright

from docs.make_site import SITE

SCREENSHOTS = SITE.with_name("screenshots")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1280, 900), (390, 844)
_DARK, _LIGHT = 200, 500  # sums of red, green and blue


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files, and logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served() -> Iterator[str]:
    """The address of the site on this machine; the search fetches the pages that it finds."""
    handler = functools.partial(_Quiet, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Visitor:
    """A browser, and the faults that it has met."""

    def __init__(self, browser: Browser, host: str) -> None:
        self._browser = browser
        self._host = host
        self.faults: list[str] = []

    @contextmanager
    def page(self, address: str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Iterator[Page]:
        """A page of the site, opened; faults are noted, and a screenshot is saved at the end."""
        width, height = size
        page = self._browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page.on("request", self._expect_own)
        page.on("response", lambda response: self._expect(response.ok, f"{response.status} {response.url}"))
        page.on("pageerror", lambda error: self._expect(False, f"{address}: {error}"))
        page.goto(f"{self._host}/{address}")
        yield page
        is_wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        self._expect(not is_wide, f"{address} is wider than {width} pixels")
        name = (
            page.url.partition("?")[0].removeprefix(f"{self._host}/").removesuffix(".html").replace("/", "-")
        )
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png")
        page.close()

    def expect_text(self, page: Page, selector: str, text: str) -> None:
        """Wait until a part of the page has this text."""
        try:
            page.locator(selector, has_text=text).first.wait_for(timeout=10_000)
        except Exception as error:  # playwright's own, of several kinds
            self._expect(False, f"no {text!r} in {selector} of {page.url}: {type(error).__name__}")

    def expect_dark(self, page: Page) -> None:
        """The background must be dark and the text light."""
        colors = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        background, text = (sum(map(float, color[4:-1].split(",")[:3])) for color in colors)
        self._expect(background < _DARK and text > _LIGHT, f"dark mode has {colors}")

    def _expect_own(self, request: Request) -> None:
        is_own = request.url.startswith((self._host, "data:"))
        self._expect(is_own, f"{request.url} is not of this site")

    def _expect(self, is_right: bool, fault: str) -> None:
        if not is_right:
            self.faults.append(fault)


def visit(visitor: Visitor) -> None:
    """All that is looked at."""
    network, article = "reference/generated/crabnet_jit.NN.html", "tutorials/article.html"
    for scheme in ("light", "dark"):
        for size in (DESKTOP, PHONE):
            for address in ("index.html", network, article, "reference/fit.html", "gallery.html"):
                with visitor.page(address, size, scheme) as page:
                    visitor.expect_text(page, "h1", "")
                    if scheme == "dark":
                        visitor.expect_dark(page)
    with visitor.page("index.html") as page:
        page.get_by_role("textbox").first.fill("levenberg")
        page.keyboard.press("Enter")
        visitor.expect_text(page, "#search-results li a", "LevenbergMarquardt")
        page.wait_for_load_state("networkidle")


def main() -> int:
    """Visit the site; return the exit code."""
    found = [path for path in map(shutil.which, BROWSERS) if path]
    if not found:
        sys.exit(f"none of {', '.join(BROWSERS)} was found")
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir(parents=True)
    with served() as host, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        visitor = Visitor(browser, host)
        visit(visitor)
        browser.close()
    print("\n".join(visitor.faults) or f"{SCREENSHOTS}: no fault")
    return 1 if visitor.faults else 0


if __name__ == "__main__":
    sys.exit(main())
