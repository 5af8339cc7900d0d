"""A folder of one's own images: which of its folders are the splits, which are classes, what is no image."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smoothcert.errors import InvalidRequest
from smoothcert.files import as_text
from smoothcert.images.folders import LeftOut, folders_in, pictures_below, pictures_in

# Names of a split's folder, whatever their capitals; "test" goes before "val".
SPLITS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "val": {"val", "valid", "validation"},
}
BESIDE = {"", "set", "data", "images", "imgs", "seg", "split"}  # other parts of such a name, as training_set
HELD_OUT = 10  # without a test folder every tenth image of a class is kept for testing
DEEPEST = 8  # folders in each other that hold nothing else
NAMED = 5  # of what a line lists

Labelled = tuple[Path, int]


@dataclass(frozen=True)
class Classes:
    """The class folders of one split: the files of each class in order, and what was left out of them."""

    folder: Path
    files: dict[str, list[Path]]
    left_out: LeftOut
    empty: tuple[str, ...]

    @classmethod
    def find(cls, folder: Path) -> "Classes":
        """Raises InvalidRequest: a name that no card can hold, two of one name, a class none of whose
        pictures can be read."""
        files: dict[str, list[Path]] = {}
        folders: dict[str, Path] = {}
        left_out, empty = LeftOut(), []
        for place in folders_in(folder):
            name = _class_name(place)
            found, others = _pictures_of(place)
            left_out.add(others)
            if not found:
                empty.append(name)
                continue
            if name in files:
                raise InvalidRequest(
                    f"{folders[name]} and {place} are one name in two Unicode forms: put them together."
                )
            files[name], folders[name] = found, place
        return cls(folder, {name: files[name] for name in sorted(files)}, left_out, tuple(empty))

    def count(self) -> int:
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Tree:
    """Where the images of each split lie. notes: what was recognised and left out, for people."""

    training: Classes
    testing: Classes | None
    notes: tuple[str, ...]

    @classmethod
    def find(cls, root: Path) -> "Tree":
        """Raises InvalidRequest: under two classes, splits that aren't clear, test images of other
        classes.
        """
        if not root.is_dir():
            raise InvalidRequest(f"There is no folder {root}.")
        root = _inner(root)
        splits = _splits(root)
        training = Classes.find(splits.get("train", root))
        _need_classes(training)
        chosen = splits.get("test") or splits.get("val")
        testing = _matched(Classes.find(chosen), training) if chosen else None
        return cls(training, testing, tuple(_notes(root, splits, training, testing)))

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.training.files)

    def files(self, split: str) -> list[Labelled]:
        """The files of one split with their classes' numbers, sorted by class and name."""
        if self.testing is not None:
            classes = self.training if split == "train" else self.testing
            return self._files(classes, set(range(HELD_OUT)))
        held_out = {1}  # not 0: a class's only image is for training
        return self._files(self.training, set(range(HELD_OUT)) - held_out if split == "train" else held_out)

    def _files(self, classes: Classes, places: set[int]) -> list[Labelled]:
        """Those whose place among the class's files, modulo HELD_OUT, is in `places`."""
        return [
            (path, label)
            for label, name in enumerate(self.class_names)
            for place, path in enumerate(classes.files.get(name, ()))
            if place % HELD_OUT in places
        ]


def split_of(name: str) -> str | None:
    """The split that a folder's name says: "train", "test", "val"; None for any other name."""
    words = set(re.split(r"[^a-z]+", name.casefold())) - BESIDE
    return next((split for split, names in SPLITS.items() if len(words) == 1 and words <= names), None)


def _inner(root: Path) -> Path:
    """Down from folders that hold one folder alone, as archives make them."""
    for _ in range(DEEPEST):
        folders = folders_in(root)
        if len(folders) != 1 or split_of(folders[0].name) or pictures_in(root) or not folders_in(folders[0]):
            break
        root = folders[0]
    return root


def _splits(root: Path) -> dict[str, Path]:
    """The folders of the splits; none where the root holds the classes. Raises InvalidRequest."""
    splits: dict[str, Path] = {}
    folders = folders_in(root)
    others = any(split_of(folder.name) is None and _holds_pictures(folder) for folder in folders)
    for folder in folders:
        split = split_of(folder.name)
        classes = sum(map(_holds_pictures, folders_in(folder))) if split else 0
        if split is None or classes < (2 if others else 1):
            continue  # a class may be called so
        if split in splits:
            raise InvalidRequest(f"{splits[split]} and {folder} are both for {split}: leave one of them.")
        splits[split] = folder
    if splits and "train" not in splits:
        there = " and ".join(str(folder) for folder in splits.values())
        raise InvalidRequest(f"{root} has no folder train/ beside {there}.")
    if not splits and not others and sum(map(_holds_pictures, folders)) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise InvalidRequest(
            f"{root} has {names} but no folders of classes in them, so no image has a class."
        )
    return splits


def _holds_pictures(folder: Path) -> bool:
    return any(pictures_below(folder, LeftOut()))


def _class_name(folder: Path) -> str:
    """In one Unicode form: file systems and archives write accents in two ways."""
    try:
        return unicodedata.normalize("NFC", as_text(folder.name))
    except UnicodeError:
        raise InvalidRequest(
            f"A class's name is text: the folder {folder} has one that isn't UTF-8."
        ) from None


def _pictures_of(place: Path) -> tuple[list[Path], LeftOut]:
    left_out = LeftOut()
    found = sorted(pictures_below(place, left_out))
    if not found and left_out.lost:
        raise InvalidRequest(f"{place} has no picture that can be read: {left_out}.")
    return found, left_out


def _need_classes(training: Classes) -> None:
    if len(training.files) < 2:
        count = len(training.files)
        raise InvalidRequest(
            f"{training.folder} needs two or more folders of images, one a class; it has {count}."
        )


def _matched(testing: Classes, training: Classes) -> Classes:
    """The test images under the names of the training's classes.

    Raises InvalidRequest for any other class.
    """
    files: dict[str, list[Path]] = {}
    unknown = []
    for name, paths in testing.files.items():
        if (known := _known_as(name, training.files)) is None:
            unknown.append(name)
        else:
            files.setdefault(known, []).extend(paths)
    if unknown:
        raise InvalidRequest(
            f"{testing.folder} has images of {_listed(unknown)}, and {training.folder} no such class: "
            "rename or remove it, or measured figures would flatter."
        )
    return Classes(testing.folder, files, testing.left_out, testing.empty)


def _known_as(name: str, names: Iterable[str]) -> str | None:
    """The class of this name, in whatever capitals as long as one class alone is meant."""
    alike = [known for known in names if known.casefold() == name.casefold()]
    return name if name in alike else alike[0] if len(alike) == 1 else None


def _notes(root: Path, splits: dict[str, Path], training: Classes, testing: Classes | None) -> list[str]:
    used = {training.folder, testing.folder if testing else None}
    beside = [folder.name for folder in folders_in(root) if splits and folder not in used]
    outside = len(pictures_in(training.folder))
    folded = [name.casefold() for name in training.files]
    alike = [name for name in training.files if folded.count(name.casefold()) > 1]
    untested = [name for name in training.files if testing and name not in testing.files]
    left_out = [
        *(f"{classes.left_out} ({classes.folder.name})" for classes in (training, testing)
          if classes and str(classes.left_out)),
        *[f"{outside} images outside of class folders"] * bool(outside),
        *[f"folders without images: {_listed(training.empty)}"] * bool(training.empty),
        *[f"folders beside the splits: {_listed(beside)}"] * bool(beside),
    ]  # fmt: skip
    return [
        *[f"left out: {'; '.join(left_out)}"] * bool(left_out),
        *[f"classes whose names differ in capitals alone: {_listed(alike)}"] * bool(alike),
        *[f"no test images of {_listed(untested)}"] * bool(untested),
    ]


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - NAMED} more" if len(all_names) > NAMED else ""
    return ", ".join(all_names[:NAMED]) + more
