"""What a file is, by its first bytes, and what to save instead where it can't become a model."""

import json
import zipfile
from pathlib import Path
from typing import Literal

from smoothcert.errors import BadModelFile

Kind = Literal["onnx", "safetensors", "torch"]

_HEAD = 4096  # bytes that are looked at
SAVE_WEIGHTS = 'torch.save(model.state_dict(), "weights.pt")'
SAVE_ONNX = 'torch.onnx.export(model.eval(), (images,), "model.onnx")'
_BEGINNINGS = (
    (
        b"version https://git-lfs",
        "is a pointer to a file in Git LFS, not the file: fetch it with `git lfs pull`",
    ),
    (b"\x89HDF", "is an HDF5 file, as Keras writes it: export the model to ONNX with tf2onnx"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it"),
    (b"BZh", "is compressed with bzip2: unpack it"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it"),
    (b"GGUF", "is a GGUF file of a language model, not an image classifier"),
    (b"\x93NUMPY", f"is a NumPy array, not a model: save the weights with {SAVE_WEIGHTS}"),
    (b"\x89PNG", "is an image, not a model"),
    (b"\xff\xd8\xff", "is an image, not a model"),
    (b"%PDF", "is a PDF document, not a model"),
    (b"<?xml", "is an XML file (OpenVINO's?): give the ONNX file that it was made from"),
)


def kind_of(path: Path) -> Kind:
    """The kind of a model's file. Raises BadModelFile: what it is, and what to save instead."""
    head = _head(path)
    _refuse_beginnings(path, head)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if head[:1] == b"\x80":
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return "safetensors"
    if path.suffix == ".safetensors":
        raise BadModelFile(f"{path} is no safetensors file, or a damaged one.")
    if path.suffix == ".onnx" or head[:1] == b"\x08":  # the version of its format stands first
        return "onnx"
    raise BadModelFile(
        f"{path} is no file of a model that is known: give ONNX, safetensors, or a PyTorch state dict."
    )


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise BadModelFile(f"{path} is a folder: {_advice(path)}.")
    try:
        if not path.is_file():
            raise BadModelFile(
                f"{path} is not there." if not path.exists() else f"{path} is no regular file."
            )
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise BadModelFile(f"{path} can't be read: {error.strerror}.") from error
    if not head:
        raise BadModelFile(f"{path} is empty: the download or the export did not finish.")
    return head


def _advice(folder: Path) -> str:
    if (folder / "saved_model.pb").is_file():
        return "a TensorFlow SavedModel; export it to ONNX with tf2onnx and give that file"
    found = [
        name for name in ("model.onnx", "model.safetensors", "pytorch_model.bin") if (folder / name).is_file()
    ]
    return f"give the file in it, {folder / found[0]}" if found else "give the file of the model"


def _refuse_beginnings(path: Path, head: bytes) -> None:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise BadModelFile(
            f"{path} is an HTML page, not a model: the download gave a page of the site (log in, or use its "
            "link to the file)."
        )
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            raise BadModelFile(f"{path} {what}.")
    if head[4:8] == b"TFL3":
        raise BadModelFile(f"{path} is a TensorFlow Lite file: export the model it was made from to ONNX.")
    if head[257:262] == b"ustar":
        raise BadModelFile(f"{path} is a tar archive: unpack it and give the file of the model.")
    if _is_json(head):
        raise BadModelFile(f"{path} is a JSON file, not a model's weights.")


def _is_json(head: bytes) -> bool:
    if head.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return len(head) == _HEAD
    except RecursionError:
        return True
    return True


def _kind_of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadModelFile(
            f"{path} is a damaged file: its end is missing or altered. Get it again."
        ) from error
    inside = [name.partition("/")[2] or name for name in names]
    if any(name.startswith("code/") for name in inside) and "constants.pkl" in inside:
        raise BadModelFile(
            f"{path} is a TorchScript program, which holds code. Save the weights of its module, "
            f"{SAVE_WEIGHTS}, or export it: {SAVE_ONNX}."
        )
    if _is_exported_program(inside):
        raise BadModelFile(
            f"{path} is a torch.export program. PyTorch reads it by unpickling and by evaluating text in it, "
            "which can run any code. Where you trust it, export it to ONNX: "
            'torch.onnx.export(torch.export.load("program.pt2").module(), (images,), "model.onnx").'
        )
    if "data.pkl" in inside:
        return "torch"
    raise BadModelFile(f"{path} is {_other_zip(names)}.")


def _is_exported_program(inside: list[str]) -> bool:
    json_files = ("serialized_exported_program.json", "models/model.json", "archive_format")
    return any(name.endswith(json_files) for name in inside)


def _other_zip(names: list[str]) -> str:
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return "a Keras model: export it to ONNX with tf2onnx"
    if names and all(name.endswith(".npy") for name in names):
        return f"an archive of NumPy arrays: save the weights with {SAVE_WEIGHTS}"
    some = ", ".join(repr(name) for name in names[:3]) or "nothing"
    return f"a zip archive of {some}: unpack it and give the file of the model"
