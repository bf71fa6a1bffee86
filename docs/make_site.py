"""Builds the site into build/site and checks it: `python -m docs.make_site`.

A warning of Sphinx is an error. So are a link that leads nowhere, and anything that a browser would fetch
from another host.
"""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).parent
SITE = DOCS.parent / "build/site"
GENERATED = DOCS / "reference/generated"
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """The anchors of a page, its links, and the addresses of what is fetched for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what matters of a tag."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if _FETCHED.get(tag) in values:
            self.fetched.add(values[_FETCHED[tag]])


def faults(site: Path) -> list[str]:
    """What is wrong with the links of a site, and what it fetches from elsewhere; a line for each."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in sorted(page.links | page.fetched):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    found.append(f"{path}: fetches {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{path}: there is no {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{path}: there is no anchor {link}")
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", path.read_text()):
            found.append(f"{path}: fetches {address}")
    return found


def main() -> int:
    """Build and check; return the exit code."""
    for folder in (SITE, GENERATED):
        shutil.rmtree(folder, ignore_errors=True)
    doctrees = SITE.with_name("doctrees")
    options = ["-W", "--keep-going", "-n", "-q", "-E", "-j", "2", "-d", str(doctrees)]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(SITE)]
    if subprocess.run(command, check=False).returncode != 0:
        return 1
    wrong = faults(SITE)
    print("\n".join(wrong) or f"{SITE / 'index.html'}: no fault")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
