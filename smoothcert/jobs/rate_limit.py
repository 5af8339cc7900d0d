"""How often a caller may ask, counted in the broker: exact over all processes of the service."""

from dataclasses import dataclass

from smoothcert.jobs.scripts import Scripts

WINDOW = 60  # seconds


@dataclass(frozen=True)
class Allowance:
    """remaining: requests that would be taken at once. full_in, retry_in: seconds until all of the quota is
    there again, until one request of it is."""

    taken: bool
    remaining: int
    full_in: int
    retry_in: int


class RateLimit:
    """One quota a caller, refilled steadily over WINDOW seconds. May raise BrokerUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts

    def spend(self, caller: str, quota: int) -> Allowance:
        """Takes one request out of `quota` a window, if there is one left."""
        taken, remaining, full_in, retry_in = self.scripts.run(
            "rate_limit", caller=caller, quota=quota, window=WINDOW
        )
        return Allowance(bool(taken), remaining, full_in, retry_in)
