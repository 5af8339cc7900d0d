"""Folders as they come from a Mac, a network drive, a notebook, an archive or another program."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from smoothcert.errors import InvalidRequest
from smoothcert.images.folders import is_clutter
from training.datasets.class_tree import ClassTree, split_of
from training.datasets.folder import load_folder

CAFE = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]


def put(path: Path, kind: str | None = "PNG") -> Path:
    """A picture, or for no kind something else."""
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
def test_what_systems_put_beside_pictures_is_no_class_and_not_trained_on(
    tmp_path: Path, clutter: str, place: str
) -> None:
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
def test_clutter_is_known_by_its_name_in_any_capitals(name: str) -> None:
    assert is_clutter(name)
    assert not is_clutter(f"a{name}")


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training_set", "seg_train", "train-images"])
@pytest.mark.parametrize("test", ["val", "Valid", "validation", "TEST", "Testing", "test_set", "val2017"])
def test_splits_are_recognised_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    classes(tmp_path / train, count=3)
    classes(tmp_path / test, count=1)
    assert counts(tmp_path) == (("cat", "dog"), 6, 2)


def test_names_that_only_begin_like_a_splits_are_classes() -> None:
    for name in ("trainer", "testimony", "valley", "train_station", "contest", "value", "set", ""):
        assert split_of(name) is None, name


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    classes(tmp_path, "car", "train", "test")
    assert counts(tmp_path)[0] == ("car", "test", "train")
    put(tmp_path / "train" / "steam" / "9.png")
    assert counts(tmp_path)[0] == ("car", "test", "train")


def test_a_test_folder_without_classes_gives_way_to_the_validation_images(tmp_path: Path) -> None:
    classes(tmp_path / "train", count=3)
    classes(tmp_path / "valid", count=1)
    put(tmp_path / "test" / "unlabelled.png")
    assert counts(tmp_path) == (("cat", "dog"), 6, 2)
    assert "folders beside the splits: test" in notes(tmp_path)


def test_an_archives_outer_folders_are_gone_through(tmp_path: Path) -> None:
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
def test_splits_that_are_not_clear_are_refused(tmp_path: Path, folders: list[str], complaint: str) -> None:
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


def test_two_folders_of_one_name_in_two_forms_are_refused_and_capitals_are_told(tmp_path: Path) -> None:
    classes(tmp_path, "a", "A", "b")
    assert "differ in capitals alone: A, a" in notes(tmp_path)
    classes(tmp_path, *CAFE)
    with pytest.raises(InvalidRequest, match="one name in two Unicode forms"):
        ClassTree.find(tmp_path)


def test_test_images_of_a_class_that_nobody_trains_are_refused_and_named(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "val", "cat", "dog", "horse")
    with pytest.raises(InvalidRequest, match="images of horse"):
        ClassTree.find(tmp_path)
    classes(tmp_path / "train", "Horse", "HORSE")
    with pytest.raises(InvalidRequest, match="images of horse"):
        ClassTree.find(tmp_path)


def test_classes_without_test_images_are_told(tmp_path: Path) -> None:
    classes(tmp_path / "train", "cat", "dog", "horse")
    classes(tmp_path / "val")
    assert "no test images of horse" in notes(tmp_path)


def test_pictures_are_recognised_by_content_and_what_is_none_is_counted(tmp_path: Path) -> None:
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


def test_a_class_none_of_whose_pictures_can_be_read_is_refused(tmp_path: Path) -> None:
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


def test_links_are_followed_once_and_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    classes(tmp_path / "kept", "horse", count=3)
    root = classes(tmp_path / "set")
    (root / "horse").symlink_to(tmp_path / "kept" / "horse")
    (root / "cat" / "more").symlink_to(tmp_path / "kept")
    (root / "cat" / "round").symlink_to(root / "cat")
    os.mkfifo(root / "dog" / "pipe.png")
    assert counts(root) == (("cat", "dog", "horse"), 7, 3)
    assert "1 devices or pipes" in notes(root)


def test_a_class_folder_whose_name_is_no_text_is_refused_before_training(tmp_path: Path) -> None:
    classes(tmp_path, "cat", "dog", os.fsdecode(b"caf\xe9"))
    with pytest.raises(InvalidRequest, match="isn't UTF-8"):
        ClassTree.find(tmp_path)


def test_the_files_themselves_may_be_named_as_they_like(tmp_path: Path) -> None:
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
