"""Finds the image files below a folder, by suffix or else by content, and counts all files left out."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from smoothcert.errors import InvalidRequest
from smoothcert.images.decode import FORMATS

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"}
# Files of operating systems, network drives, archives and notebooks; lower case.
CLUTTER = {
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "icon\r", "__pycache__",
}  # fmt: skip
HIDDEN, BROKEN, SPECIAL, OTHER = "hidden or system files", "broken links", "devices or pipes", "no pictures"
HIDDEN_FOLDERS = "hidden or system folders"
# Image formats that are not supported, by suffix and by first bytes.
NOT_TAKEN = {
    "TIFF": (".tif", ".tiff"),
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif", ".avifs"),
    "JPEG 2000": (".jp2", ".j2k", ".jpx"),
    "JPEG XL": (".jxl",),
    "SVG": (".svg", ".svgz"),
    "PSD": (".psd",),
    "Netpbm": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
    "ICO": (".ico",),
    "raw": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw"),
}
BEGINNINGS = {
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"8BPS": "PSD",
    b"\0\0\0\x0cjP": "JPEG 2000", b"\0\0\0\x0cJXL": "JPEG XL", b"\xff\x0a": "JPEG XL",
}  # fmt: skip
BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
}


def is_clutter(name: str) -> bool:
    """Whether a file or folder name is that of a hidden or system file."""
    return name.startswith((".", "~$")) or name.lower() in CLUTTER


@dataclass(frozen=True)
class LeftOut:
    """Files left out. reasons: counts by reason. pictures: counts of unsupported image formats."""

    reasons: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)

    def add(self, other: "LeftOut") -> None:
        self.reasons.update(other.reasons)
        self.pictures.update(other.pictures)

    @property
    def lost(self) -> bool:
        """Whether images were left out, so that the data set differs."""
        return bool(self.pictures) or BROKEN in self.reasons

    def __str__(self) -> str:
        kinds = [f"{count} {kind} (not taken: save as PNG)" for kind, count in self.pictures.most_common()]
        return ", ".join([*kinds, *(f"{count} {reason}" for reason, count in self.reasons.most_common())])


def pictures_below(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """The image files below a folder, following links; other files are counted in `left_out`.

    Raises InvalidRequest for a folder that can't be read.
    """
    for path in files_below(folder, left_out):
        reason = _why_not(path, left_out)
        if reason is None:
            yield path
        elif reason:
            left_out.reasons[reason] += 1


def pictures_in(folder: Path) -> list[Path]:
    """The image files directly in a folder. Raises InvalidRequest."""
    return [path for path in _entries(folder) if not path.is_dir() and _why_not(path, LeftOut()) is None]


def folders_in(folder: Path) -> list[Path]:
    """The visible folders directly in a folder, sorted. Raises InvalidRequest."""
    return [path for path in _entries(folder) if path.is_dir() and not is_clutter(path.name)]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InvalidRequest(f"{folder} can't be read: {error.strerror}.") from error


def files_below(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """All files below a folder, sorted by name; visits each folder once. Raises InvalidRequest."""
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        status = Path(place).stat()
        known = (status.st_dev, status.st_ino) in seen  # a link to a parent folder
        seen.add((status.st_dev, status.st_ino))
        if hidden := sum(map(is_clutter, folders)):
            left_out.reasons[HIDDEN_FOLDERS] += hidden
        folders[:] = [] if known else sorted(name for name in folders if not is_clutter(name))
        if not known:
            yield from (Path(place, name) for name in sorted(names))


def _unreadable(error: OSError) -> None:
    raise InvalidRequest(f"{error.filename} can't be read: {error.strerror}.") from error


def _why_not(path: Path, left_out: LeftOut) -> str | None:
    """Why a file is left out: None if it is taken, an empty string if `left_out` counted it already."""
    if is_clutter(path.name):
        return HIDDEN
    try:
        mode = path.stat().st_mode
    except OSError:
        return BROKEN
    if not stat.S_ISREG(mode):
        return SPECIAL
    if path.suffix.lower() in SUFFIXES or _is_taken(path):
        return None
    kind = _kind_not_taken(path)
    if kind is None:
        return f"{OTHER} ({path.suffix.lower() or 'no suffix'})"
    left_out.pictures[kind] += 1
    return ""


def _is_taken(path: Path) -> bool:
    """Whether the content is a supported image."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror or error}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True  # too large; reading it gives the error
    except Exception:  # decoders raise anything on malformed input
        return False


def _kind_not_taken(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(12)
    by_content = next((kind for start, kind in BEGINNINGS.items() if head.startswith(start)), None)
    by_brand = BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    suffix = path.suffix.lower()
    by_name = next((kind for kind, ends in NOT_TAKEN.items() if suffix in ends), None)
    return by_content or by_brand or by_name
