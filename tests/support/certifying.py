"""Certifications of known votes, from the question to the result."""

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, Result, drive
from smoothcert.testing import KnownVotes

SURE = [0.02, 0.93, 0.05]


def asked(**options: object) -> Parameters:
    return Parameters.model_validate({"sigma": 0.5, "n": 5000} | options)


def certify(parameters: Parameters, probabilities: list[float], seed: int = 0, most: int = 1000) -> Result:
    source = KnownVotes(probabilities, seed)
    certification = Certification(parameters, source.num_classes)
    for _ in drive(certification, source, most):
        pass
    return certification.result
