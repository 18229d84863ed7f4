"""The page for operators, that of the API's documentation, runbooks: their files, and the headers that they are served with.

Belongs here: reading `static/` and runbooks once and handing them out. Does not belong here: anything that the page shows: it
asks the API for that, with its reader's key, as every other program does.

All files are below one folder that is named by a digest of them all: what a browser has kept is never stale, and never asked for
again.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from starlette.responses import Response

from platform_assets.serve.problems import refuse

FOLDER = Path(__file__).with_name("static")
PREFIX = "/static/"
RUNBOOKS = "/runbooks/"
_PAGES = {"/": "index.html", "/docs": "docs.html"}
_SERVED = {".html", ".js", ".css", ".svg", ".woff2"}  # the rest of the folder is for people
_PACKED = {".html", ".js", ".css", ".svg"}
_MARK = b"{digest}"
# Nothing but our own files, no inline script or style, and no string becomes markup but lit-html's own templates.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)
# Swagger UI styles its elements and makes markup; it shows our own description only. A key of the page may lie in the same tab.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Text alone.
_RUNBOOK_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STATIC = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "public, max-age=31536000, immutable",
}
_PAGE = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is sent, plain and packed; `packed` is empty where packing gains nothing."""

    body: bytes
    packed: bytes
    type: str

    @classmethod
    def of(cls, body: bytes, suffix: str) -> _File:
        kind = {".woff2": "font/woff2", ".js": "text/javascript"}.get(suffix) or mimetypes.types_map[suffix]
        packed = gzip.compress(body, mtime=0) if suffix in _PACKED else b""
        return cls(body, packed, kind if suffix not in _PACKED else f"{kind}; charset=utf-8")

    def response(self, request: Request, headers: dict[str, str]) -> Response:
        packed = self.packed and "gzip" in request.headers.get("accept-encoding", "")
        more = {"Content-Encoding": "gzip"} if packed else {}
        body = self.packed if packed else self.body
        return Response(body, headers={**headers, **more, "Vary": "Accept-Encoding"}, media_type=self.type)


@cache
def _files() -> tuple[str, dict[str, _File]]:
    """The digest of all files, and each by its path."""
    found = {
        path.relative_to(FOLDER).as_posix(): path.read_bytes()
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in _SERVED
    }
    digest = hashlib.sha256()
    for name, body in found.items():
        digest.update(f"{name}\0{len(body)}\0".encode() + body)
    mark = digest.hexdigest()[:16]
    for name in _PAGES.values():
        found[name] = found[name].replace(_MARK, mark.encode())
    return mark, {name: _File.of(body, Path(name).suffix) for name, body in found.items()}


def _runbooks(texts: Mapping[str, str]) -> dict[str, _File]:
    """Each runbook as a page, by its name. Tags in its text stay text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    frame = Environment(
        loader=PackageLoader("platform_assets.serve"), autoescape=True, undefined=StrictUndefined
    ).get_template("runbook.html")
    pages = {
        name: frame.render(
            title=text.partition("\n")[0].lstrip("# "),
            digest=_files()[0],
            text=markdown.render(text),
        )
        for name, text in texts.items()
    }
    return {name: _File.of(page.encode(), ".html") for name, page in pages.items()}


def router(runbooks: Mapping[str, str]) -> APIRouter:
    """`/`, `/docs`, runbooks (Markdown by name), and the files that they load.

    They need no key, for links in messages lead to them: no runbook may hold a secret.
    """
    made = APIRouter(include_in_schema=False)
    pages = cache(lambda: _runbooks(runbooks))

    def page(request: Request) -> Response:
        policy = _DOCS_POLICY if request.url.path == "/docs" else _POLICY
        return _files()[1][_PAGES[request.url.path]].response(request, {**_PAGE, "Content-Security-Policy": policy})

    def static(request: Request, digest: str, path: str) -> Response:
        mark, files = _files()
        if digest != mark or path not in files:
            raise refuse(404, "there is no such file: load the page again")
        return files[path].response(request, _STATIC)

    def runbook(request: Request, name: str) -> Response:
        if name not in runbooks:
            raise refuse(404, "there is no such runbook")
        return pages()[name].response(request, {**_PAGE, "Content-Security-Policy": _RUNBOOK_POLICY})

    for path in _PAGES:
        made.add_api_route(path, page, methods=["GET"], response_model=None)
    made.add_api_route(f"{RUNBOOKS}{{name:path}}", runbook, methods=["GET"], response_model=None)
    made.add_api_route(f"{PREFIX}{{digest}}/{{path:path}}", static, methods=["GET"], response_model=None)
    return made
