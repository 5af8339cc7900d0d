"""The class folders below a path: which folders are splits, which are classes, which files are skipped."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smoothcert.errors import InvalidRequest
from smoothcert.files import as_text
from smoothcert.images.folders import LeftOut, folders_in, pictures_below, pictures_in

# Names of a split's folder in any case. "test" is preferred to "val".
SPLITS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "val": {"val", "valid", "validation"},
}
FILLERS = {"", "set", "data", "images", "imgs", "seg", "split"}  # ignored in such names: training_set
HELD_OUT = 10  # without a test folder, one of this many images of each class is held out
MAX_DEPTH = 8  # of nested folders that contain a single folder
MAX_LISTED = 5  # names in a message

LabelledFile = tuple[Path, int]


@dataclass(frozen=True)
class ClassFolders:
    """The class folders of one split. files: paths by class name, sorted. left_out: what was skipped."""

    folder: Path
    files: dict[str, list[Path]]
    left_out: LeftOut
    empty: tuple[str, ...]

    @classmethod
    def find(cls, folder: Path) -> "ClassFolders":
        """Raises InvalidRequest: a class name that is not text, two folders with the same name in two Unicode
        forms, a class without a readable image."""
        files: dict[str, list[Path]] = {}
        folders: dict[str, Path] = {}
        left_out, empty = LeftOut(), []
        for class_folder in folders_in(folder):
            name = _class_name(class_folder)
            found, skipped = _images_of(class_folder)
            left_out.add(skipped)
            if not found:
                empty.append(name)
                continue
            if name in files:
                raise InvalidRequest(
                    f"{folders[name]} and {class_folder} are one name in two Unicode forms: "
                    "put them together."
                )
            files[name], folders[name] = found, class_folder
        return cls(folder, {name: files[name] for name in sorted(files)}, left_out, tuple(empty))


@dataclass(frozen=True)
class ClassTree:
    """The class folders of each split. notes: what was skipped, for the user."""

    training: ClassFolders
    testing: ClassFolders | None
    notes: tuple[str, ...]

    @classmethod
    def find(cls, root: Path) -> "ClassTree":
        """Raises InvalidRequest: fewer than two classes, ambiguous splits, test images of unknown classes."""
        if not root.is_dir():
            raise InvalidRequest(f"There is no folder {root}.")
        root = _skip_single_folders(root)
        splits = _find_splits(root)
        training = ClassFolders.find(splits.get("train", root))
        _require_two_classes(training)
        test_folder = splits.get("test") or splits.get("val")
        testing = _match_classes(ClassFolders.find(test_folder), training) if test_folder else None
        return cls(training, testing, tuple(_notes(root, splits, training, testing)))

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.training.files)

    def files(self, split: str) -> list[LabelledFile]:
        """The files of one split with their class indices, sorted by class and name."""
        if self.testing is not None:
            classes = self.training if split == "train" else self.testing
            return self._files(classes, set(range(HELD_OUT)))
        held_out = {1}  # not 0, so that a class with one image is trained on
        return self._files(self.training, set(range(HELD_OUT)) - held_out if split == "train" else held_out)

    def _files(self, classes: ClassFolders, remainders: set[int]) -> list[LabelledFile]:
        """The files whose position in their class modulo HELD_OUT is in `remainders`."""
        return [
            (path, label)
            for label, name in enumerate(self.class_names)
            for position, path in enumerate(classes.files.get(name, ()))
            if position % HELD_OUT in remainders
        ]


def split_of(name: str) -> str | None:
    """The split that a folder's name stands for: "train", "test", "val"; else None."""
    words = set(re.split(r"[^a-z]+", name.casefold())) - FILLERS
    return next((split for split, names in SPLITS.items() if len(words) == 1 and words <= names), None)


def _skip_single_folders(root: Path) -> Path:
    """The first folder below `root` that holds more than one folder, as archives wrap their content."""
    for _ in range(MAX_DEPTH):
        folders = folders_in(root)
        if len(folders) != 1 or split_of(folders[0].name) or pictures_in(root) or not folders_in(folders[0]):
            break
        root = folders[0]
    return root


def _find_splits(root: Path) -> dict[str, Path]:
    """The folders of the splits; empty if `root` holds the classes. Raises InvalidRequest."""
    splits: dict[str, Path] = {}
    folders = folders_in(root)
    others = any(split_of(folder.name) is None and _has_images(folder) for folder in folders)
    for folder in folders:
        split = split_of(folder.name)
        classes = sum(map(_has_images, folders_in(folder))) if split else 0
        if split is None or classes < (2 if others else 1):
            continue  # it may be a class with such a name
        if split in splits:
            raise InvalidRequest(f"{splits[split]} and {folder} are both for {split}: leave one of them.")
        splits[split] = folder
    if splits and "train" not in splits:
        found = " and ".join(str(folder) for folder in splits.values())
        raise InvalidRequest(f"{root} has no folder train/ beside {found}.")
    if not splits and not others and sum(map(_has_images, folders)) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise InvalidRequest(
            f"{root} has {names} but no folders of classes in them, so no image has a class."
        )
    return splits


def _has_images(folder: Path) -> bool:
    return any(pictures_below(folder, LeftOut()))


def _class_name(folder: Path) -> str:
    """The folder's name in one Unicode form: file systems and archives encode accents in two ways."""
    try:
        return unicodedata.normalize("NFC", as_text(folder.name))
    except UnicodeError:
        raise InvalidRequest(
            f"A class's name is text: the folder {folder} has one that isn't UTF-8."
        ) from None


def _images_of(class_folder: Path) -> tuple[list[Path], LeftOut]:
    left_out = LeftOut()
    found = sorted(pictures_below(class_folder, left_out))
    if not found and left_out.lost:
        raise InvalidRequest(f"{class_folder} has no picture that can be read: {left_out}.")
    return found, left_out


def _require_two_classes(training: ClassFolders) -> None:
    if len(training.files) < 2:
        raise InvalidRequest(
            f"{training.folder} needs two or more folders of images, one a class; it has "
            f"{len(training.files)}."
        )


def _match_classes(testing: ClassFolders, training: ClassFolders) -> ClassFolders:
    """The test images under the training classes' names. Raises InvalidRequest for any other class."""
    files: dict[str, list[Path]] = {}
    unknown = []
    for name, paths in testing.files.items():
        if (known := _same_class(name, training.files)) is None:
            unknown.append(name)
        else:
            files.setdefault(known, []).extend(paths)
    if unknown:
        raise InvalidRequest(
            f"{testing.folder} has images of {_listed(unknown)}, and {training.folder} no such class: "
            "rename or remove it, or measured figures would flatter."
        )
    return ClassFolders(testing.folder, files, testing.left_out, testing.empty)


def _same_class(name: str, names: Iterable[str]) -> str | None:
    """The class with this name; without one, the only class that differs in case alone."""
    alike = [known for known in names if known.casefold() == name.casefold()]
    return name if name in alike else alike[0] if len(alike) == 1 else None


def _notes(
    root: Path, splits: dict[str, Path], training: ClassFolders, testing: ClassFolders | None
) -> list[str]:
    used = {training.folder, testing.folder if testing else None}
    other_folders = [folder.name for folder in folders_in(root) if splits and folder not in used]
    outside = len(pictures_in(training.folder))
    folded = [name.casefold() for name in training.files]
    alike = [name for name in training.files if folded.count(name.casefold()) > 1]
    untested = [name for name in training.files if testing and name not in testing.files]
    left_out = [
        *(f"{classes.left_out} ({classes.folder.name})" for classes in (training, testing)
          if classes and str(classes.left_out)),
        *[f"{outside} images outside of class folders"] * bool(outside),
        *[f"folders without images: {_listed(training.empty)}"] * bool(training.empty),
        *[f"folders beside the splits: {_listed(other_folders)}"] * bool(other_folders),
    ]  # fmt: skip
    return [
        *[f"left out: {'; '.join(left_out)}"] * bool(left_out),
        *[f"classes whose names differ in capitals alone: {_listed(alike)}"] * bool(alike),
        *[f"no test images of {_listed(untested)}"] * bool(untested),
    ]


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - MAX_LISTED} more" if len(all_names) > MAX_LISTED else ""
    return ", ".join(all_names[:MAX_LISTED]) + more
