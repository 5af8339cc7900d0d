"""Runs one command line after the other in this process, and tells what became of each.

`python every_command.py ROUNDS.json RESULTS.json`: a list of rounds, each with `variables` to set in the
environment and others to be `without`, a `user` to become or null, and `calls`, lists of base64 words, which
can be any bytes; a list for each round of exit status (null for a traceback), stdout and stderr.
"""

import base64
import json
import os
import sys
import traceback
from pathlib import Path

from smoothcert.cli.main import app
from smoothcert.cli.settings import settings


def run(arguments: list[str], folder: Path) -> tuple[int | None, str, str]:
    """One command line with the streams of this process led into files."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    paths = folder / "stdout", folder / "stderr"
    for descriptor, path in zip((1, 2), paths, strict=True):
        path.unlink(missing_ok=True)  # of a user before
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, descriptor)
        os.close(target)
    settings.cache_clear()
    sys.argv[1:] = arguments
    status: int | None = None
    try:
        app()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for descriptor, before in zip((1, 2), kept, strict=True):
        os.dup2(before, descriptor)
        os.close(before)
    said, complaints = (path.read_text("utf-8", errors="replace") for path in paths)
    return status, said, complaints


if __name__ == "__main__":
    rounds, results = map(Path, sys.argv[1:3])
    usual, told = dict(os.environ), []
    for one in json.loads(rounds.read_text()):
        os.environ.clear()
        os.environ.update(usual | one["variables"])
        for name in one["without"]:
            os.environ.pop(name, None)
        if one["user"] is not None:
            os.setgroups([])
            os.setgid(one["user"])
            os.setuid(one["user"])
        calls = [[os.fsdecode(base64.b64decode(word)) for word in call] for call in one["calls"]]
        told.append([run(call, results.parent) for call in calls])
    results.write_text(json.dumps(told))
