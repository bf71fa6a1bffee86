"""What is wrong with a built site is found; the site itself is built by `python -m docs.make_site`."""

from pathlib import Path

from docs import make_site


def site_with(folder: Path, body: str, style: str = "") -> list[str]:
    """The faults of a site of two pages."""
    (folder / "other.html").write_text('<h1 id="there">Other</h1>')
    (folder / "style.css").write_text(style)
    (folder / "index.html").write_text(f'<link rel="stylesheet" href="style.css">{body}')
    return [fault.removeprefix(f"{folder}/") for fault in make_site.faults(folder)]


def test_links_that_lead_somewhere_are_right(tmp_path: Path) -> None:
    body = (
        '<a href="other.html#there">a</a> <a href="#here" id="here">b</a> <a href="https://example.org">c</a>'
    )
    assert site_with(tmp_path, body) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    body = '<a href="other.html#elsewhere">a</a> <a href="no.html">b</a> <img src="no.png">'
    assert site_with(tmp_path, body) == [
        "index.html: there is no no.html",
        "index.html: there is no no.png",
        "index.html: there is no anchor other.html#elsewhere",
    ]


def test_what_comes_from_another_host_is_found(tmp_path: Path) -> None:
    body = '<script src="https://example.org/a.js"></script> <img src="//example.org/b.png">'
    style = "@import url(https://example.org/c.css); p { background: url('data:,') }"
    assert site_with(tmp_path, body, style) == [
        "index.html: fetches //example.org/b.png",
        "index.html: fetches https://example.org/a.js",
        "style.css: fetches https://example.org/c.css",
    ]
