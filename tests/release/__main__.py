"""Can this tree be released? Prints what is wrong, and leaves wheel, sdist and verify.pyz in build/release.

make release-check
"""

import argparse
import shutil
import sys
from pathlib import Path

from tests.release import build, tree
from tests.release.verifier import build_verifier

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "release"


def wrong_in_tree(root: Path) -> list[str]:
    """Problems of the tree, one a line."""
    released = tree.version(root)
    return [
        *tree.uncommitted(root),
        *tree.disagreeing(root, released),
        *tree.unlogged((root / "CHANGELOG.md").read_text(), released),
        *tree.unrendered((root / "README.md").read_text()),
        *tree.unlinked(root / "README.md"),
    ]


def wrong_in_build(root: Path, uv: Path) -> list[str]:
    """Problems of wheel and sdist, one a line."""
    shutil.rmtree(OUT, ignore_errors=True)
    wheel, sdist = build.build(root, uv, OUT)
    build_verifier(OUT / "verify.pyz")
    packages, present = build.committed(root), {path.name for path in root.iterdir()}
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes")
    return [
        *build.wrong_in_wheel(build.wheel_holds(wheel), packages),
        *build.wrong_in_sdist(build.sdist_holds(sdist), packages, present),
        *build.wrong_when_installed(wheel),
        *build.wrong_in_an_empty_environment(wheel, uv.absolute(), root / "requirements.lock"),
    ]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--uv", type=Path, required=True, help="path of uv, which builds")
    wrong = wrong_in_tree(ROOT) + wrong_in_build(ROOT, options.parse_args().uv)
    print(*wrong, sep="\n")
    if wrong:
        sys.exit(f"{tree.version(ROOT)} cannot be released: see above")
    print(f"{tree.version(ROOT)} can be released: tag it v{tree.version(ROOT)}")


if __name__ == "__main__":
    main()
