"""GET /: the page, and the files it needs. No build step, no outside requests."""

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
    """The page."""
    return FileResponse(STATIC / "index.html", headers=REVALIDATE)


@router.get("/favicon.ico")
def icon() -> FileResponse:
    """Browsers ask for it by this name, whatever the page says."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")
