"""The mutants of one Lua script: one small change each, as a hurried hand would make it.

No tool for Lua was found. The scripts are short and of one manner, so tokens and lines do: other comparisons,
the number below each, conditions always or never true, lists without an item, statements left out.
"""

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<text>'[^'\n]*')|(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>==|~=|<=|>=|\.\.\.|\.\.|[-+*/%#<>=(){}\[\],;:.])"
)
INSTEAD = {
    "==": ["~="],
    "~=": ["=="],
    "<": ["<=", ">="],
    "<=": ["<", ">"],
    ">": [">=", "<="],
    ">=": [">", "<"],
    "+": ["-"],
    "*": ["/"],
    "/": ["*"],
    "%": ["+"],
    "and": ["or"],
    "or": ["and"],
    "not": [""],
    "true": ["false"],
    "false": ["true"],
    "min": ["max"],
    "max": ["min"],
    "floor": ["ceil"],
    "ceil": ["floor"],
    "'-inf'": ["'+inf'"],
    "'+inf'": ["'-inf'"],
}
LARGE = 1000  # numbers above it are durations and sizes: one more of them is no other behaviour
CONDITION = re.compile(r"\b(if|elseif|while)\b (.*?) (then|do)\b")
LISTS = re.compile(r"(?:ipairs\(\{|redis\.call\('HDEL', .*?\), )(?P<items>['\w]+(?:, ['\w]+)+)\}?\)")
BLOCKS = re.compile(r"\b(function|if|for|while|end)\b")
# To delete these breaks the script, or is a mutant already.
KEPT = ("local ", "else", "end", "if ", "while ", "return")


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Operator and mutated source, each different one once."""
    seen = {source}
    for start, stop, instead, operator in sorted(_changes(source)):
        code = source[:start] + instead + source[stop:]
        if code not in seen:
            seen.add(code)
            yield operator, code


def _changes(source: str) -> Iterator[tuple[int, int, str, str]]:
    """From, to, what stands there instead, and whose idea that is. Comments stay as they are."""
    code = TOKEN.sub(lambda found: " " * len(found[0]) if found["comment"] else found[0], source)
    for operator in (_signs, _numbers, _conditions, _items, _statements):
        yield from ((*change, operator.__name__.strip("_")) for change in operator(code))


def _signs(code: str) -> Iterator[tuple[int, int, str]]:
    for found in TOKEN.finditer(code):
        for instead in INSTEAD.get(found[0], []):
            yield found.start(), found.end(), instead


def _numbers(code: str) -> Iterator[tuple[int, int, str]]:
    for found in TOKEN.finditer(code):
        if found["number"]:
            yield found.start(), found.end(), _near(float(found[0]))


def _near(number: float) -> str:
    """One less; one where there is none less; a tenth of what is large."""
    return f"{number / 10:.10g}" if number > LARGE or number % 1 else f"{number - 1 if number else 1:g}"


def _conditions(code: str) -> Iterator[tuple[int, int, str]]:
    for found in CONDITION.finditer(code):
        for instead in ("true", "false") if found[1] != "while" else ("false",):
            yield found.start(2), found.end(2), instead


def _items(code: str) -> Iterator[tuple[int, int, str]]:
    """A list, or a row of fields to delete, without one of its items."""
    for found in LISTS.finditer(code):
        items = found["items"].split(", ")
        for place in range(len(items)):
            yield *found.span("items"), ", ".join(items[:place] + items[place + 1 :])


def _statements(code: str) -> Iterator[tuple[int, int, str]]:
    """Each statement that can go: whole loops on one line, and calls and assignments over all their lines."""
    place = 0
    lines = code.splitlines(keepends=True)
    while lines:
        text = lines.pop(0)
        while lines and _open(text):
            text += lines.pop(0)
        stripped = text.strip()
        deletable = stripped and not stripped.startswith(KEPT) and _balanced(stripped)
        if deletable:
            start = place + len(text) - len(text.lstrip())
            yield start, start + len(stripped), ""
        place += len(text)


def _open(text: str) -> bool:
    return text.count("(") + text.count("{") > text.count(")") + text.count("}")


def _balanced(statement: str) -> bool:
    """Whether every block that begins here ends here."""
    words = BLOCKS.findall(statement)
    return words.count("end") * 2 == len(words)
