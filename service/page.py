"""GET /: the web page and its files. No build step, no requests to other sites."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
REVALIDATE = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)
static_files = StaticFiles(directory=STATIC)


@router.get("/")
def page() -> FileResponse:
    """The web page."""
    return FileResponse(STATIC / "index.html", headers=REVALIDATE)


@router.get("/favicon.ico")
def icon() -> FileResponse:
    """Browsers request this path whatever icon the page names."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")
