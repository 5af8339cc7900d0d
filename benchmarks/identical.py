"""Does a refactor change a certificate? Ten images for every bundled model, with fixed seeds.

python benchmarks/identical.py certify BEFORE.json      # and AFTER.json, once the change is made
python benchmarks/identical.py compare BEFORE.json AFTER.json

Certifies on the CPU with each of ENGINES and each procedure, and writes the certificates without their dates.
`compare` names each field that differs and exits 1 if one does. Compare files of one machine and one lock
only: other processors and libraries round differently.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from smoothcert.cli.checkpoints import Checkpoint, build_engine, find_checkpoint
from smoothcert.cli.settings import settings
from smoothcert.engines.engine import Engine
from smoothcert.images.decode import read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.parameters import Parameters, ProcedureName
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification, drive

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 10
DATA = ROOT / "tests/data"
PICTURES = {"L": "digit-?.png", "RGB": "folder-tiny/*/*/*.jpg"}  # by the mode of the model's images
ENGINES = (
    "cpu:eager/channels-last/folded/1-threads:float32:64",
    "cpu:openvino/channels-last/folded/1-threads:float32:64",
)
PROCEDURES: tuple[ProcedureName, ...] = ("anytime", "certify", "predict")
N0, N = 40, 300  # votes; ResNet-110 draws some hundred a second
CHUNK = 100  # votes asked for at a time: batches are cut by looks and by chunks
Certificates = dict[str, dict[str, Any]]


def pictures(card: ModelCard) -> list[Path]:
    """Ten real images of the mode that the model takes."""
    return sorted(DATA.glob(PICTURES[card.preprocessing.mode]))[:IMAGES]


def certify(models: Sequence[str], configs: Sequence[str]) -> Certificates:
    """Every certificate by its name, model/engine/image/procedure."""
    certificates: Certificates = {}
    for model in models:
        checkpoint = find_checkpoint(model)
        for config in configs:
            engine = build_engine(checkpoint, config)
            for name, certificate in _certificates(checkpoint, engine):
                certificates[f"{model}/{config}/{name}"] = certificate
            print(f"{model} under {config}: {len(certificates)} certificates in all", file=sys.stderr)
    return certificates


def _certificates(checkpoint: Checkpoint, engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in pictures(checkpoint.card):
        image = read_image(path.read_bytes(), checkpoint.card)
        for procedure in PROCEDURES:
            yield f"{path.name}/{procedure}", _certificate(checkpoint.card, engine, image, procedure)


def _certificate(
    card: ModelCard, engine: Engine, image: CertifiedImage, procedure: ProcedureName
) -> dict[str, Any]:
    parameters = Parameters(procedure=procedure, n0=N0, n=N, sigma=card.sigma)
    seed = sha256(f"{card.name}/{image.digest.sha256}".encode()).hexdigest()[:32]
    source = engine.sampler(image.to_array(), card.sigma, int(seed, 16))
    certification = Certification(parameters, source.num_classes, slack=source.slack)
    for _ in drive(certification, source, CHUNK):
        pass
    certificate = build_certificate(
        certification.result,
        parameters,
        card=card,
        input_digest=image.digest,
        seed=seed,
        engine=engine.description,
    )
    return certificate.model_dump(mode="json", exclude={"issued_at"})


def differences(before: Certificates, after: Certificates) -> list[str]:
    """A line for each field that differs, and for each field of a certificate that is missing."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, {}), after.get(name, {})
        fields = [field for field in sorted(old.keys() | new.keys()) if old.get(field) != new.get(field)]
        found += [f"{name}: {field}: {old.get(field)} -> {new.get(field)}" for field in fields]
    return found


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 1 where two files differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    certifying = commands.add_parser("certify")
    certifying.add_argument("out", type=Path)
    certifying.add_argument("--models", nargs="+", default=settings().registry.names())
    certifying.add_argument("--engines", "--setups", nargs="+", default=ENGINES)
    comparing = commands.add_parser("compare")
    comparing.add_argument("files", type=Path, nargs=2, metavar="FILE")
    arguments = parser.parse_args(words)
    if arguments.command == "certify":
        arguments.out.write_text(json.dumps(certify(arguments.models, arguments.engines), indent=1))
        return 0
    before, after = (json.loads(path.read_text()) for path in arguments.files)
    found = differences(before, after)
    print(*found, f"{len(before)} and {len(after)} certificates, {len(found)} differences", sep="\n")
    return 1 if found or not before else 0


if __name__ == "__main__":
    sys.exit(main())
