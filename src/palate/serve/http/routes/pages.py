"""The pages that people see: plain files, sent with headers that let nothing foreign in.

A page is one HTML file, one CSS, and small ES modules; none is built, and none is filled in by the server:
what a page shows it asks of the API with the caller's token. So every page may be kept by a browser, and
whoever opens one without a token sees nothing of anybody.
"""

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

__all__ = ["CSP", "PAGES", "missing", "router"]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Scripts, styles and requests of this server's alone; nothing inline, no frames, no HTML out of strings."""

PAGES = {
    "/": "home.html",
    "/choose": "choose.html",
    "/me": "me.html",
    "/people": "people.html",
    "/operator": "operator.html",
    "/docs": "docs.html",
}
"""Paths of the pages and their files."""

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


class _File(NamedTuple):
    body: bytes
    kind: str
    etag: str


@cache
def _static() -> dict[str, _File]:
    """Read all files once: a name is looked up here, so that no path reaches the disk."""
    found = {}
    folder = files("palate.serve") / "pages"
    for place in (folder, folder / "static"):
        for file in place.iterdir():
            kind = _TYPES.get(file.name.rpartition(".")[2])
            if kind and file.is_file():
                body = file.read_bytes()
                etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
                found[file.name] = _File(body, f"{kind}; charset=utf-8", etag)
    return found


def _send(request: Request, name: str, status: int = 200) -> Response:
    file = _static()[name]
    headers = {**_HEADERS, "ETag": file.etag}
    if status == 200 and request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, status, {**headers, "Content-Type": file.kind})


def missing(request: Request) -> Response:
    """Return a kind page that says there is nothing at this path, with status 404."""
    return _send(request, "missing.html", 404)


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return _send(request, name)

    return page


for _path, _name in PAGES.items():
    router.add_api_route(_path, _page(_name), methods=["GET", "HEAD"], name=_name.removesuffix(".html"))


@router.api_route("/static/{name}", methods=["GET", "HEAD"], name="static")
async def static(request: Request, name: str) -> Response:
    """Return a script, a style or an image of the pages."""
    if name not in _static() or name.endswith(".html"):
        return missing(request)
    return _send(request, name)
