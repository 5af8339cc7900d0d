"""Which modules are mutated, and which tests are asked about each: the narrow ones, the quickest first."""

from dataclasses import dataclass

# What tests import of others. The warm process imports it once; every mutant's process has it for nothing.
WARM = (
    "celery",
    "hypothesis",
    "mpmath",
    "numpy",
    "pydantic_settings",
    "pytest",
    "redis",
    "scipy.stats",
    "statsmodels.stats.proportion",
    "structlog",
    "torch",
    "typer",
)


@dataclass(frozen=True)
class Target:
    """One module under mutation.

    tests: files, or names in them, below tests/; they run in this order, up to the first that fails.
    timeout: seconds of processor time for one mutant, besides three times what the unharmed module takes.
    """

    module: str
    tests: tuple[str, ...]
    timeout: float = 4.0


def core(name: str, *tests: str) -> Target:
    """A module of `certification`, with tests below tests/certification."""
    return Target(f"certification/{name}.py", tuple(f"certification/{test}.py" for test in tests))


TARGETS = (
    core("bounds", "test_bounds"),
    core("procedure", "test_procedure", "test_predict"),
    core("schedule", "test_schedule", "test_recompute"),
    core("stopping", "test_stopping", "test_procedure"),
    core("candidates", "test_candidates"),
    core("evidence", "test_evidence", "test_procedure"),
    core("recompute", "test_recompute"),
    core("votes", "test_batches", "test_procedure"),
    core("batches", "test_batches"),
    core("normal", "test_normal"),
    core("issue", "test_issue", "test_verify"),
    core("noise", "test_noise"),
    core("grid_noise", "test_grid_noise"),
    core("streams", "test_streams"),
    core("sampler", "test_sampler"),
    core("verify", "test_verify", "test_verify_limits"),
    core("contract/feasibility", "contract/test_feasibility", "test_schedule"),
    core("contract/parameters", "contract/test_parameters"),
)
