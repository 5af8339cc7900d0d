"""Carry CIFAR-10 to a machine without a network: lossless WebP sheets in zip files under 64 MB, and back.

python benchmarks/gpu/pieces.py pack ROOT OUT     ROOT/cifar-10-batches-py -> OUT/cifar10-*.zip (50 and 34 MB)
python benchmarks/gpu/pieces.py unpack OUT DATA   and back, each batch checked against its digest

Of the test batch every 20th image travels: the 500 that are certified.
"""

import hashlib
import io
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHEET = 500  # images a sheet: 500 x 32 rows stay under WebP's 16 383
EVERY = 20
PIECES = {
    "cifar10-1.zip": ("data_batch_1", "data_batch_2", "data_batch_5"),
    "cifar10-2.zip": ("data_batch_3", "data_batch_4", "test_batch"),
}
FOLDER = "cifar-10-batches-py"
Pixels = NDArray[np.uint8]  # (N, 3, 32, 32)


def pack(root: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for piece, batches in PIECES.items():
        with zipfile.ZipFile(out / piece, "w") as archive:
            for batch in batches:
                # The data set's own files, whose format is pickle: unpack what you fetched yourself.
                original = pickle.loads((root / FOLDER / batch).read_bytes(), encoding="bytes")
                pixels = np.asarray(original[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
                step = EVERY if batch == "test_batch" else 1
                _pack_batch(archive, batch, pixels[::step], bytes(original[b"labels"])[::step])


def _pack_batch(archive: zipfile.ZipFile, name: str, pixels: Pixels, labels: bytes) -> None:
    archive.writestr(f"{name}/labels", labels)
    archive.writestr(f"{name}/sha256", hashlib.sha256(pixels.tobytes()).hexdigest())
    for start in range(0, len(pixels), SHEET):
        rows = pixels[start : start + SHEET].transpose(0, 2, 3, 1).reshape(-1, 32, 3)
        buffer = io.BytesIO()
        Image.fromarray(rows).save(buffer, "webp", lossless=True, method=4, quality=100)
        archive.writestr(f"{name}/{start:05d}.webp", buffer.getvalue())


def unpack(packed: Path, data: Path) -> None:
    """The pieces that exist."""
    data.mkdir(parents=True, exist_ok=True)
    for path in sorted(packed.glob("cifar10-*.zip")):
        with zipfile.ZipFile(path) as archive:
            for batch in PIECES[path.name]:
                pixels, labels = _unpack_batch(archive, batch)
                np.savez(data / f"{batch}.npz", images=pixels, labels=labels)


def _unpack_batch(archive: zipfile.ZipFile, name: str) -> tuple[Pixels, NDArray[np.uint8]]:
    sheets = sorted(n for n in archive.namelist() if n.startswith(f"{name}/") and n.endswith(".webp"))
    pixels = np.concatenate([_unpack_sheet(archive.read(sheet)) for sheet in sheets])
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == archive.read(f"{name}/sha256").decode()
    return pixels, np.frombuffer(archive.read(f"{name}/labels"), np.uint8)


def _unpack_sheet(content: bytes) -> Pixels:
    rows = np.asarray(Image.open(io.BytesIO(content)))
    return np.ascontiguousarray(rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))


def load(data: Path, split: str) -> tuple[Pixels, NDArray[np.uint8]]:
    """images (N, 3, 32, 32) and labels (N,) of one split; test images that were not copied are black."""
    if split == "train":
        batches = [np.load(data / f"data_batch_{i}.npz") for i in range(1, 6)]
        return np.concatenate([b["images"] for b in batches]), np.concatenate([b["labels"] for b in batches])
    test = np.load(data / "test_batch.npz")
    whole = len(test["labels"]) * EVERY
    images, labels = np.zeros((whole, 3, 32, 32), np.uint8), np.zeros(whole, np.uint8)
    images[::EVERY], labels[::EVERY] = test["images"], test["labels"]
    return images, labels


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
