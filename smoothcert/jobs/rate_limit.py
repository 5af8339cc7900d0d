"""A rate limit per caller, kept in the broker: exact over all processes of the service."""

from dataclasses import dataclass

from smoothcert.jobs.scripts import Scripts

WINDOW = 60  # seconds


@dataclass(frozen=True)
class Allowance:
    """The outcome for one request. taken: whether it was allowed. remaining: requests allowed right now.
    full_in, retry_in: seconds until the whole quota is available, until one request is.
    """

    taken: bool
    remaining: int
    full_in: int
    retry_in: int


class RateLimit:
    """One quota per caller, refilled steadily over WINDOW seconds. May raise BrokerUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts

    def spend(self, caller: str, quota: int) -> Allowance:
        """Takes one request from a quota of `quota` requests per window, if one is left."""
        taken, remaining, full_in, retry_in = self.scripts.run(
            "rate_limit", caller=caller, quota=quota, window=WINDOW
        )
        return Allowance(bool(taken), remaining, full_in, retry_in)
