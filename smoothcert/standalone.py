"""The single-file verifier: `python verify.pyz DOC.json...`, with nothing but the standard library.

It checks that every figure follows from the counts, as `smoothcert verify` does. Model, image, votes and
signature need the installed command. `make verifier` builds it, together with the JSON schemas of the
documents, which are derived from the pydantic models.
"""

import hashlib
import json
import pkgutil
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from smoothcert.errors import NotACertificate, SmoothCertError
from smoothcert.schemas.evaluation_log import read_log
from smoothcert.schemas.json_text import MAX_BYTES, Document, is_timestamp, parse_document
from smoothcert.stats.recompute import asked_in_words
from smoothcert.stats.statement_checks import compare_with_log, verify_statement
from smoothcert.stats.verify import Report, verify

SCHEMAS = "schemas.json"  # {name: JSON schema}
USAGE = "usage: python verify.pyz DOC.json... [--log LOG]"
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
Schema = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Verify documents. Returns the exit status: 0 all hold, 1 one does not, 2 wrong usage."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)  # noqa: T201
        return 0
    log = None
    if "--log" in arguments[:-1]:
        place = arguments.index("--log")
        log = Path(arguments[place + 1])
        arguments = arguments[:place] + arguments[place + 2 :]
    if not arguments or any(argument.startswith("-") for argument in arguments):
        return _refuse(USAGE, 2)
    return max(_verified(Path(argument), log) for argument in arguments)


def _verified(path: Path, log: Path | None) -> int:
    try:
        report, notes = check(path.read_bytes(), log)
    except OSError as error:
        return _refuse(f"{error.filename or path} can't be read: {error.strerror}.", 2)
    except SmoothCertError as error:
        return _refuse(f"{path} is refused: {error}.", 1)
    wrong = report.first_wrong
    if wrong:
        return _refuse(f"{path} is refused: {wrong.field}: {wrong.reason}.", 1)
    fields = dict.fromkeys(check.field.partition(".")[0] for check in report.checks)
    print(f"{path} holds: checked {', '.join(fields)}")  # noqa: T201
    print(*notes, sep="\n")  # noqa: T201
    return 0


def _refuse(message: str, status: int) -> int:
    print("verify:", " ".join(message.split()), file=sys.stderr)  # noqa: T201
    return status


def check(data: bytes, log: Path | None) -> tuple[Report, list[str]]:
    """The checks of a document, and what to say if it holds. Raises NotACertificate."""
    if len(data) > MAX_BYTES:
        raise NotACertificate("the file", f"is larger than {MAX_BYTES} bytes")
    document = parse_document(data)
    if document.get("kind") != "statement":
        claimed = typed(document, schemas()["certificate"])
        asked = asked_in_words(claimed.asked_before, claimed.alpha)
        return verify(claimed), [*asked, _not_compared("a model, an image or a signature")]
    statement = typed(document, schemas()["statement"])
    report = verify_statement(statement)
    if log is None or report.first_wrong:
        return report, [_not_compared("its log (--log LOG does that), a model or a signature")]
    run = log.with_name(f"{log.name}.run.json")
    read, described = read_log(log), _run_of(run)
    if read.torn:
        raise NotACertificate(log.name, "its last line was cut short")
    digests = {"log_sha256": _digest(log), "run_sha256": _digest(run)}
    compared = compare_with_log(statement, read.rows, described, digests, statement.slack)
    return Report(report.checks + compared.checks), [_not_compared("a model, redrawn rows or a signature")]


def _run_of(path: Path) -> Any:
    """What was asked for a log. Its seed may be larger than a document's numbers. Raises NotACertificate."""
    try:
        return typed(json.loads(path.read_bytes()), schemas()["run"])
    except (ValueError, RecursionError) as error:
        raise NotACertificate(path.name, "is no JSON") from error


def _not_compared(left: str) -> str:
    return f"not compared with {left}; `smoothcert verify` does that"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def schemas() -> dict[str, Schema]:
    """The schemas that were packed with the verifier."""
    text = pkgutil.get_data("smoothcert", SCHEMAS)
    assert text is not None, "verify.pyz is incomplete"
    loaded: dict[str, Schema] = json.loads(text)
    return loaded


def typed(document: Document, schema: Schema) -> Any:
    """A document as objects with attributes, defaults filled in. Raises NotACertificate, naming the field.

    Values of the wrong type are rejected, never converted, as by `validated` in schemas/certificate.py.
    """
    return _typed(document, schema, schema.get("$defs", {}), "")


def _typed(value: Any, schema: Schema, definitions: dict[str, Schema], path: str) -> Any:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        chosen = [one for one in schema["anyOf"] if (one.get("type") == "null") == (value is None)]
        _need(chosen, path, "must not be null")
        return _typed(value, chosen[0], definitions, path)
    _check_value(value, schema, path)
    if isinstance(value, dict):
        return _typed_object(value, schema, definitions, path)
    if isinstance(value, list):
        items = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        _need(len(items) == len(value), path, f"must have {len(items)} items")
        return [
            _typed(item, kind, definitions, f"{path}.{index}")
            for index, (item, kind) in enumerate(zip(value, items, strict=True))
        ]
    return value


def _typed_object(value: Document, schema: Schema, definitions: dict[str, Schema], path: str) -> Any:
    if "properties" not in schema:  # a mapping
        kind = schema.get("additionalProperties", {})
        return {name: _typed(item, kind, definitions, f"{path}.{name}") for name, item in value.items()}
    fields = {}
    for name, kind in schema["properties"].items():
        where = f"{path}.{name}".removeprefix(".")
        _need(name in value or name not in schema.get("required", ()), where, "is missing")
        if name in value:
            fields[name] = _typed(value[name], kind, definitions, where)
        else:
            fields[name] = kind.get("default")
    return SimpleNamespace(**fields)


def _check_value(value: Any, schema: Schema, path: str) -> None:
    kind = schema.get("type")
    if kind is not None:
        right = isinstance(value, TYPES[kind]) and (kind == "boolean") == isinstance(value, bool)
        _need(right, path, f"must be a value of type {kind}")
    _need("const" not in schema or value == schema["const"], path, f"must be {schema.get('const')!r}")
    _need("enum" not in schema or value in schema["enum"], path, f"must be one of {schema.get('enum')}")
    if isinstance(value, int | float):
        _need(schema.get("minimum", value) <= value <= schema.get("maximum", value), path, "is out of range")
    if isinstance(value, str):
        # Our patterns are anchored; `$` alone would allow a line break at the end.
        _need(re.fullmatch(schema.get("pattern", "(?s:.*)"), value), path, "has another form")
        _need(len(value) <= schema.get("maxLength", len(value)), path, "is too long")
        _need(schema.get("format") != "date-time" or is_timestamp(value), path, "is no RFC 3339 time")


def _need(holds: object, path: str, reason: str) -> None:
    if not holds:
        raise NotACertificate(path or "the document", reason)
