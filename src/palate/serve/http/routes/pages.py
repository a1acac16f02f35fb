"""The pages that people see: plain files, sent with headers that let nothing foreign in.

All pages are one HTML file, which names a page's title and the small ES modules that draw it, and one CSS.
Nothing else is filled in by the server: what a page shows it asks of the API with the caller's token, and
whoever opens one without a token sees nothing of anybody. Pages name their files below ``/static/DIGEST/``,
of all files' content: a browser keeps these for good, and takes all of them anew, together, when one changes.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from string import Template
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

__all__ = ["CSP", "MISSING", "PAGES", "Page", "missing", "router"]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Scripts, styles and requests of this server's alone; nothing inline, no frames, no HTML out of strings."""


class Page(NamedTuple):
    """What pages differ in: the module that draws it, as ``NAME.js``, its title, and what it is about."""

    name: str
    title: str
    about: str


PAGES = {
    "/": Page(
        "home",
        "Palate",
        "Palate learns what you like from the choices you make, and tells you what it believes.",
    ),
    "/choose": Page(
        "choose",
        "Choose · Palate",
        "Choose between two answers; every choice teaches Palate what you like.",
    ),
    "/me": Page("me", "My persona · Palate", "What Palate believes about you, why, and how to change it."),
    "/people": Page(
        "people",
        "People · Palate",
        "Everyone in one picture: groups, minorities, and whom personas help.",
    ),
    "/operator": Page("operator", "Operator · Palate", "How the server is, and what it serves."),
    "/docs": Page("docs", "API · Palate", "Every request that the server answers."),
}
"""Paths of the pages."""
MISSING = Page("missing", "Nothing here · Palate", "There is no page at this address.")
"""What is shown at any other path."""

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_USED = re.compile(r'^import .* from "\./([\w.]+)";$', re.MULTILINE)
_ASKED_AGAIN, _FOR_GOOD = "no-cache", "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class _File(NamedTuple):
    body: bytes
    kind: str
    etag: str


class _Files(NamedTuple):
    digest: str
    pages: dict[str, _File]
    static: dict[str, _File]


def _file(name: str, body: bytes) -> _File:
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return _File(body, f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8", etag)


@cache
def _files() -> _Files:
    """Read all files once: a name is looked up among them, so that no path reaches the disk."""
    folder = files("palate.serve") / "pages"
    static = {f.name: _file(f.name, f.read_bytes()) for f in (folder / "static").iterdir() if "." in f.name}
    digest = hashlib.sha256("".join(sorted(f.etag for f in static.values())).encode()).hexdigest()[:12]
    shell = Template(
        (folder / "page.html").read_text(encoding="utf-8").replace("/static/", f"/static/{digest}/")
    )
    pages = {}
    for page in (*PAGES.values(), MISSING):
        modules = "\n".join(
            f'<link rel="modulepreload" href="/static/{digest}/{name}">' for name in _modules(page, static)
        )
        text = shell.substitute(title=page.title, about=page.about, script=f"{page.name}.js", modules=modules)
        pages[page.name] = _file("page.html", text.encode())
    return _Files(digest, pages, static)


def _modules(page: Page, static: dict[str, _File]) -> list[str]:
    """Return what a page's module imports, however deep: a browser that is told fetches all at once."""
    found = [f"{page.name}.js"]
    for name in found:
        used = _USED.findall(static[name].body.decode())
        found += [other for other in used if other not in found]
    return sorted(found[1:])


def _send(request: Request, file: _File, status: int = 200, keep: str = _ASKED_AGAIN) -> Response:
    headers = {**_HEADERS, "ETag": file.etag, "Cache-Control": keep}
    if status == 200 and request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, status, {**headers, "Content-Type": file.kind})


def missing(request: Request) -> Response:
    """Return a kind page that says there is nothing at this path, with status 404."""
    return _send(request, _files().pages[MISSING.name], 404)


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return _send(request, _files().pages[name])

    return page


for _path, _shown in PAGES.items():
    router.add_api_route(_path, _page(_shown.name), methods=["GET", "HEAD"], name=_shown.name)


@router.api_route("/static/{digest}/{name}", methods=["GET", "HEAD"], name="static")
async def static(request: Request, digest: str, name: str) -> Response:
    """Return a script, a style or an image of the pages."""
    now, kept = _files(), _files().static.get(name)
    if kept is None:
        return missing(request)
    return _send(request, kept, keep=_FOR_GOOD if digest == now.digest else _ASKED_AGAIN)
