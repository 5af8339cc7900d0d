"""The paper's figures as declared recipes."""

from training.experiments.experiment import Arm, Experiment
from training.experiments.published import ACR_BY_NOISES, ACR_BY_WEIGHT
from training.experiments.tables import MNIST_SUPPLEMENT, TABLE1, arms

ABLATED = "MNIST, σ = 1"
FORMS = ("kl_entropy", "legacy", "xent", "kl", "mse")

FIGURE1 = Experiment(
    "figure1",
    "MNIST, sigma = 0.5: the log-probability gap under noise of one test image",
    "gaps",
    arms("mnist", ("gaussian", "stability", "consistency"), (0.5,)),
)
FIGURE2 = Experiment(
    "figure2",
    "MNIST, LeNet: certified accuracy against radius for all methods",
    "curves",
    TABLE1.arms + MNIST_SUPPLEMENT.arms,
)


def _by_form(form: str) -> Arm:
    options = {} if form == "kl_entropy" else {"form": form}
    label = "-".join(["consistency", *options.values()])
    return Arm(label, "consistency", "mnist", 1.0, options, group=f"{ABLATED}: form of the loss")


def _by_number(name: str, symbol: str, value: float) -> Arm:
    group = f"{ABLATED}: {symbol}"
    return Arm(f"{symbol} = {value:g}", "consistency", "mnist", 1.0, {name: value}, group=group)


FIGURE3 = Experiment(
    "figure3",
    "MNIST, LeNet, sigma = 1: Consistency by form of the loss, by number of noises m, by weight lambda",
    "curves",
    (
        *map(_by_form, FORMS),
        *(_by_number("num_noises", "m", m) for m in ACR_BY_NOISES),
        *(_by_number("weight", "λ", weight) for weight in ACR_BY_WEIGHT),
    ),
)
