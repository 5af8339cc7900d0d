"""When more votes can't change the answer enough to be worth drawing.

Stopping never costs alpha: the radii of all looks hold at once, wherever the drawing stops. So these rules
may read the counts as they like; they decide only how many votes are spent, never what is proved.
"""

import math

from smoothcert.schemas.certificate import Look
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.bounds import clopper_pearson_lower, clopper_pearson_upper, most_of_others, read_pair
from smoothcert.votes import Counts

DOUBT = 0.01  # chance, at one look, that p lies beyond the limit the optimist takes for it


def optimistic_radius(counts_K: Counts, drawn: int, top: int, last: Look, sigma: float) -> float:
    """The radius the last look would prove if the votes to come fell as luckily as the counts allow.

    The optimist takes P(top) at its upper confidence limit and P(runner-up) at its lower one, each at level
    1-DOUBT, and lets the remaining votes fall in those shares. After n votes it is the radius of the last
    look. Radius and sigma are in the same unit, l2 of pixels.
    """
    left = last.n - drawn
    k_top = int(counts_K[top])
    k_next = most_of_others(counts_K, top)
    more_next = math.floor(left * clopper_pearson_lower(k_next, drawn, DOUBT))
    more_top = min(left - more_next, math.ceil(left * clopper_pearson_upper(k_top, drawn, DOUBT)))
    return read_pair(k_top + more_top, k_next + more_next, last.n, last, sigma).radius


def is_enough(parameters: Parameters, proved: float, optimistic: float) -> bool:
    """Whether to stop at a look: `proved` is the best radius so far, `optimistic` what n votes might prove.

    Target radius: proved, or hopeless. Tolerance: no more than that share of the optimistic radius is
    missing, which holds for a hopeless image too (0 of 0). With both, whichever comes first.
    """
    target, tolerance = parameters.target_radius, parameters.tolerance
    if target is not None and (proved >= target or optimistic < target):
        return True
    return tolerance is not None and proved >= (1 - tolerance) * optimistic
