"""Carry CIFAR-10 to a machine without a network: lossless WebP sheets in zip files under 64 MB, and back.

python benchmarks/gpu/pieces.py pack ROOT OUT    ROOT/cifar-10-batches-py -> OUT/cifar10-*.zip (50 MB each)
python benchmarks/gpu/pieces.py unpack OUT ROOT  and back, byte for byte, as torchvision reads it
"""

import hashlib
import io
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SHEET = 500  # images a sheet: 500 x 32 rows stay under WebP's 16 383
PIECES = {
    "cifar10-1.zip": ("data_batch_1", "data_batch_2", "data_batch_5"),
    "cifar10-2.zip": ("data_batch_3", "data_batch_4", "test_batch"),
}
FOLDER = "cifar-10-batches-py"


def pack(root: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for piece, batches in PIECES.items():
        with zipfile.ZipFile(out / piece, "w") as archive:
            for batch in batches:
                # Our own files, just written by the data set's official packing: pickle is their format.
                original = pickle.loads((root / FOLDER / batch).read_bytes(), encoding="bytes")
                _pack_batch(archive, batch, original)


def _pack_batch(archive: zipfile.ZipFile, name: str, batch: dict[bytes, object]) -> None:
    pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    archive.writestr(f"{name}/labels", bytes(batch[b"labels"]))  # type: ignore[call-overload]
    archive.writestr(f"{name}/sha256", hashlib.sha256(pixels.tobytes()).hexdigest())
    for start in range(0, len(pixels), SHEET):
        rows = pixels[start : start + SHEET].transpose(0, 2, 3, 1).reshape(-1, 32, 3)
        buffer = io.BytesIO()
        Image.fromarray(rows).save(buffer, "webp", lossless=True, method=4, quality=100)
        archive.writestr(f"{name}/{start:05d}.webp", buffer.getvalue())


def unpack(pieces: Path, root: Path) -> None:
    """Whatever pieces are there; each batch is checked against its digest."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in sorted(pieces.glob("cifar10-*.zip")):
        with zipfile.ZipFile(path) as archive:
            for batch in PIECES[path.name]:
                np.savez(root / FOLDER / batch, **_unpack_batch(archive, batch))


def _unpack_batch(archive: zipfile.ZipFile, name: str) -> dict[str, np.ndarray]:
    sheets = sorted(n for n in archive.namelist() if n.startswith(f"{name}/") and n.endswith(".webp"))
    pixels = np.concatenate([_unpack_sheet(archive.read(sheet)) for sheet in sheets])
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == archive.read(f"{name}/sha256").decode()
    return {"images": pixels, "labels": np.frombuffer(archive.read(f"{name}/labels"), np.uint8)}


def _unpack_sheet(content: bytes) -> np.ndarray:
    rows = np.asarray(Image.open(io.BytesIO(content)))
    return np.ascontiguousarray(rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))


def load(root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """images (N, 3, 32, 32) uint8 and labels (N,) of `train` or `test`, from unpacked batches."""
    names = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    batches = [np.load(root / FOLDER / f"{name}.npz") for name in names]
    return np.concatenate([b["images"] for b in batches]), np.concatenate([b["labels"] for b in batches])


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
