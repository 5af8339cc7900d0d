"""`make stats` sees what it looks for, and the code keeps to the aims on lengths."""

from benchmarks.house.duplicates import duplicates
from benchmarks.house.lengths import lengths
from benchmarks.house.shapes import unsaid
from benchmarks.house.sources import AROUND, PRODUCTION, Source, sources

TWICE = '''
def {name}({argument}):
    """{name} has its own docstring."""
    total = 0
    for one in {argument}:
        if one.size > {limit} and one.kind == "small":
            total += one.size * one.weight
        else:
            total -= one.weight
    return total
'''


def source(text: str, path: str = "a.py") -> Source:
    return Source(path, text)


def test_the_code_keeps_to_the_aims() -> None:
    found = lengths(sources(*PRODUCTION, *AROUND))
    assert found.over == ()
    assert found.keep_to_the_aims, found


def test_lengths_count_from_def_to_the_end_inner_functions_too() -> None:
    found = lengths(
        [source("def outer() -> int:\n    def inner():\n        return 1\n\n    return inner()\n")]
    )
    assert (found.functions, found.longest, found.typed) == (2, 5, 0.5)


def test_what_is_too_long_is_named() -> None:
    long = "def long():\n" + "    pass\n" * 60
    (named,) = lengths([source(long)]).over
    assert named == "a.py:1 long (61)"


def test_functions_alike_but_for_their_own_names_stand_twice() -> None:
    first = source(TWICE.format(name="f", argument="sizes", limit=3), "a.py")
    second = source(TWICE.format(name="g", argument="parts", limit=3), "b.py")
    (places,) = duplicates([first, second])
    assert [place.path for place in places] == ["a.py", "b.py"]


def test_functions_that_differ_in_a_number_do_not_stand_twice() -> None:
    first = source(TWICE.format(name="f", argument="sizes", limit=3), "a.py")
    second = source(TWICE.format(name="g", argument="sizes", limit=4), "b.py")
    assert duplicates([first, second]) == []


def test_a_tensor_of_unsaid_shape_is_named_and_one_with_a_word_on_it_is_not() -> None:
    silent = 'def f(image: Tensor) -> int:\n    """Counts."""\n'
    named = 'def f(image_CHW: Tensor) -> int:\n    """Counts."""\n'
    told = 'def f(image: Tensor) -> Tensor:\n    """Counts by class, shape (K,)."""\n'
    private = "def _f(image: Tensor) -> Tensor: ...\n"
    assert unsaid([source(silent)]) == ["a.py:1 f: shape of image"]
    assert unsaid([source(named), source(told), source(private)]) == []


def test_a_length_without_unit_is_named_where_a_tensor_passes() -> None:
    passed = 'def f(x_K: Tensor, radius: float) -> int:\n    """Counts."""\n'
    assert unsaid([source(passed)]) == ["a.py:1 f: unit of radius"]
    assert unsaid([source(passed.replace("Tensor", "int"))]) == []
