"""The published experiments by name."""

from smoothcert.errors import InvalidRequest
from training.experiments.experiment import Arm, Experiment
from training.experiments.figures import FIGURE1, FIGURE2, FIGURE3
from training.experiments.tables import FASHION_MNIST, MNIST_SUPPLEMENT, TABLE1, TABLE2, TABLE3, TABLE4

__all__ = ["EXPERIMENTS", "Arm", "Experiment", "find_experiment"]

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        *(TABLE1, MNIST_SUPPLEMENT, TABLE2, TABLE3, TABLE4, FASHION_MNIST),
        *(FIGURE1, FIGURE2, FIGURE3),
    )
}


def find_experiment(name: str) -> Experiment:
    """Raises InvalidRequest for a name that is not in EXPERIMENTS."""
    if name not in EXPERIMENTS:
        raise InvalidRequest(f"There is no experiment {name!r}; there are: {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]
