"""How to get what is missing: from where SmoothCert itself came, never by its bare name from an index.

The name on the public index isn't ours: whoever registers it would run code at everyone who followed a hint.
"""

import shlex
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def how_to_install(extra: str, checkout: Path = CHECKOUT) -> str:
    """The command that installs an optional part into this checkout; in words where there is no checkout."""
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{checkout}[{extra}]')}"
    return f"install the extra `{extra}` from the repository or file that SmoothCert was installed from"
