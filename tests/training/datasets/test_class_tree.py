"""Folders as macOS, network drives, notebooks, archives and other programs create them."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from smoothcert.errors import InvalidRequest
from smoothcert.images.folders import is_clutter
from training.datasets.class_tree import ClassTree, split_of
from training.datasets.image_set import load_folder

CAFE = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]


def put(path: Path, kind: str | None = "PNG") -> Path:
    """An image of this format; None: a file that is not an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind is None:
        path.write_bytes(b"nothing to look at")
    else:
        Image.new("L", (8, 8), 7).save(path, kind)
    return path


def classes(root: Path, *names: str, count: int = 2) -> Path:
    for name in names or ("cat", "dog"):
        for index in range(count):
            put(root / name / f"{index}.png")
    return root


def counts(root: Path) -> tuple[tuple[str, ...], int, int]:
    tree = ClassTree.find(root)
    return tree.class_names, len(tree.files("train")), len(tree.files("test"))


def notes(root: Path) -> str:
    return "; ".join(ClassTree.find(root).notes)


@pytest.mark.parametrize(
    "clutter",
    [
        ".ipynb_checkpoints/0-checkpoint.png", ".thumbnails/large/0.png", "@eaDir/0.png", "__MACOSX/0.png",
        "#recycle/0.png", "$RECYCLE.BIN/0.png", ".git/0.png", "lost+found/0.png",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [".", "cat", "cat/deeper"])
def test_system_files_and_folders_are_ignored(tmp_path: Path, clutter: str, place: str) -> None:
    classes(tmp_path)
    put(tmp_path / place / clutter)
    put(tmp_path / place / "._0.png", None)
    put(tmp_path / place / "Thumbs.db", None)
    assert counts(tmp_path) == (("cat", "dog"), 2, 2)
    if place != ".":
        assert "1 hidden or system folders" in notes(tmp_path)
        assert "2 hidden or system files" in notes(tmp_path)


@pytest.mark.parametrize(
    "name", ["Desktop.ini", "THUMBS.DB", ".DS_Store", "Icon\r", "~$report.png", "@eaDir"]
)
def test_system_files_are_recognised_by_name_in_any_case(name: str) -> None:
    assert is_clutter(name)
    assert not is_clutter(f"a{name}")


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training_set", "seg_train", "train-images"])
@pytest.mark.parametrize("test", ["val", "Valid", "validation", "TEST", "Testing", "test_set", "val2017"])
def test_splits_are_recognised_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    classes(tmp_path / train, count=3)
    classes(tmp_path / test, count=1)
    assert counts(tmp_path) == (("cat", "dog"), 6, 2)


def test_names_that_only_start_like_a_split_are_classes() -> None:
    for name in ("trainer", "testimony", "valley", "train_station", "contest", "value", "set", ""):
        assert split_of(name) is None, name


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    classes(tmp_path, "car", "train", "test")
    assert counts(tmp_path)[0] == ("car", "test", "train")
    put(tmp_path / "train" / "steam" / "9.png")
    assert counts(tmp_path)[0] == ("car", "test", "train")


def test_validation_images_replace_a_test_folder_without_classes(tmp_path: Path) -> None:
    classes(tmp_path / "train", count=3)
    classes(tmp_path / "valid", count=1)
    put(tmp_path / "test" / "unlabelled.png")
    assert counts(tmp_path) == (("cat", "dog"), 6, 2)
    assert "folders beside the splits: test" in notes(tmp_path)


def test_outer_folders_of_an_archive_are_skipped(tmp_path: Path) -> None:
    classes(tmp_path / "archive" / "pets" / "Training", count=3)
    classes(tmp_path / "archive" / "pets" / "Testing", count=1)
    put(tmp_path / "__MACOSX" / "archive" / "._pets", None)
    assert counts(tmp_path) == (("cat", "dog"), 6, 2)


@pytest.mark.parametrize(
    ("folders", "complaint"),
    [
        (["train", "Training"], "are both for train"),
        (["train", "val", "validation"], "are both for val"),
        (["test", "val"], "no folder train/"),
    ],
)
def test_ambiguous_splits_are_refused(tmp_path: Path, folders: list[str], complaint: str) -> None:
    for folder in folders:
        classes(tmp_path / folder)
    with pytest.raises(InvalidRequest, match=complaint):
        ClassTree.find(tmp_path)


def test_splits_that_hold_no_classes_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "train" / "0.png")
    put(tmp_path / "test" / "0.png")
    with pytest.raises(InvalidRequest, match="no folders of classes"):
        ClassTree.find(tmp_path)


@pytest.mark.parametrize(("here", "there"), [CAFE, CAFE[::-1], ("Cat", "cat"), ("CAT", "Cat")])
def test_a_class_is_found_again_in_another_unicode_form_or_in_other_capitals(
    tmp_path: Path, here: str, there: str
) -> None:
    classes(tmp_path / "train", here, "dog", count=3)
    classes(tmp_path / "val", there, "dog", count=1)
    names, train, test = counts(tmp_path)
    assert names == tuple(sorted([unicodedata.normalize("NFC", here), "dog"]))
    assert (train, test) == (6, 2)


def test_one_name_in_two_unicode_forms_is_refused_and_case_differences_reported(tmp_path: Path) -> None:
    classes(tmp_path, "a", "A", "b")
    assert "differ in capitals alone: A, a" in notes(tmp_path)
    classes(tmp_path, *CAFE)
    with pytest.raises(InvalidRequest, match="one name in two Unicode forms"):
        ClassTree.find(tmp_path)


def test_test_images_of_an_untrained_class_are_refused(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "val", "cat", "dog", "horse")
    with pytest.raises(InvalidRequest, match="images of horse"):
        ClassTree.find(tmp_path)
    classes(tmp_path / "train", "Horse", "HORSE")
    with pytest.raises(InvalidRequest, match="images of horse"):
        ClassTree.find(tmp_path)


def test_classes_without_test_images_are_reported(tmp_path: Path) -> None:
    classes(tmp_path / "train", "cat", "dog", "horse")
    classes(tmp_path / "val")
    assert "no test images of horse" in notes(tmp_path)


def test_images_are_recognised_by_content_and_other_files_counted(tmp_path: Path) -> None:
    classes(tmp_path)
    for name, kind in (
        ("a.jpe", "JPEG"),
        ("b.jfif", "JPEG"),
        ("c.JPG", "JPEG"),
        ("d", "PNG"),
        ("e.dat", "WEBP"),
    ):
        put(tmp_path / "cat" / name, kind)
    for name, kind in (("f.tif", "TIFF"), ("g.TIFF", "TIFF"), ("h", "TIFF"), ("i.ppm", "PPM")):
        put(tmp_path / "dog" / name, kind)
    for name in ("notes.txt", "boxes.xml", "more.xml"):
        put(tmp_path / "dog" / name, None)
    put(tmp_path / "dog" / "photo", None).write_bytes(b"\0\0\0\x18ftypheic")
    names, train, test = counts(tmp_path)
    assert (names, train + test) == (("cat", "dog"), 9)
    for reason in (
        "3 TIFF (not taken: save as PNG)",
        "1 Netpbm",
        "1 HEIC",
        "1 no pictures (.txt)",
        "2 no pictures (.xml)",
    ):
        assert reason in notes(tmp_path)
    assert "9 files" not in notes(tmp_path)


def test_a_class_without_readable_images_is_refused(tmp_path: Path) -> None:
    classes(tmp_path)
    put(tmp_path / "horse" / "0.tif", "TIFF")
    with pytest.raises(InvalidRequest, match=r"horse has no picture that can be read: 1 TIFF"):
        ClassTree.find(tmp_path)
    (tmp_path / "horse" / "0.tif").unlink()
    (tmp_path / "horse" / "1.png").symlink_to("gone.png")
    with pytest.raises(InvalidRequest, match=r"horse has no picture that can be read: 1 broken links"):
        ClassTree.find(tmp_path)
    (tmp_path / "horse" / "1.png").unlink()
    assert "folders without images: horse" in notes(tmp_path)


def test_links_are_followed_once_and_pipes_are_not_opened(tmp_path: Path) -> None:
    classes(tmp_path / "kept", "horse", count=3)
    root = classes(tmp_path / "set")
    (root / "horse").symlink_to(tmp_path / "kept" / "horse")
    (root / "cat" / "more").symlink_to(tmp_path / "kept")
    (root / "cat" / "round").symlink_to(root / "cat")
    os.mkfifo(root / "dog" / "pipe.png")
    assert counts(root) == (("cat", "dog", "horse"), 7, 3)
    assert "1 devices or pipes" in notes(root)


def test_a_class_folder_with_a_non_utf8_name_is_refused(tmp_path: Path) -> None:
    classes(tmp_path, "cat", "dog", os.fsdecode(b"caf\xe9"))
    with pytest.raises(InvalidRequest, match="isn't UTF-8"):
        ClassTree.find(tmp_path)


def test_file_names_need_not_be_utf8(tmp_path: Path) -> None:
    put(classes(tmp_path) / "cat" / os.fsdecode(b"caf\xe9.png"))
    assert len(load_folder(f"folder:{tmp_path}", "train", None).labels) == 3


def test_the_summary_says_what_was_taken_and_what_left_out(tmp_path: Path) -> None:
    classes(tmp_path / "Train", count=3)
    classes(tmp_path / "Val", count=1)
    put(tmp_path / "Train" / "cat" / "x.tif", "TIFF")
    put(tmp_path / "Train" / "loose.png")
    said = load_folder(f"folder:{tmp_path}", "train", None).summary
    for part in (
        f"6 training images of 2 classes in {tmp_path / 'Train'}",
        f"2 test images in {tmp_path / 'Val'}",
        "1 TIFF (not taken: save as PNG) (Train)",
        "1 images outside of class folders",
    ):
        assert part in said
