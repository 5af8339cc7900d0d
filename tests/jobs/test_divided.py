"""Several workers on one job, in any order: they take portions, count, die, come late, come twice.

Whatever happens, each vote is counted once, looks read all votes up to them, and the job ends once, with the
evidence of one undisturbed worker.
"""

import random

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.jobs.held import NAMES
from tests.jobs.sharing import Sharing

HELPER = {"take": 6, "bring": 6, "take_of_an_old_division": 1, "leave": 2, "hold": 1, "join": 1}
HOLDER = {"gather": 4, "report": 3, "count_alone": 2, "divide": 2, "divide_unheard": 2, "finish": 2}
LOSSES = {
    "let_the_lease_end": 2,
    "let_a_portion_end": 3,
    "claim": 3,
    "go_on": 4,
    "sweep": 1,
    "lose_the_division": 1,
}
SELDOM = {
    "cancel": 1,
    "expire": 1,
    "fail": 2,
    "restart": 2,
    "hand_back": 2,
    "somebody_waits": 1,
    "wear_out": 0.5,
}
KINDS = {**HELPER, **HOLDER, **LOSSES, **SELDOM, "nobody_else_waits": 4}
LATE = 0.35  # of all actions are of a holder or a portion that is not the last one
LUCK = 0.1  # of the ends before their time come about, or there would be little else to see


class Divided(RuleBasedStateMachine):
    """One rule of many actions, drawn by weight: Hypothesis leaves rules out of runs, and most are needed in
    all of them here."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.sharing = Sharing(self.url)

    def teardown(self) -> None:
        self.sharing.close()

    @rule(dice=st.integers(0, 2**64 - 1))
    def act(self, dice: int) -> None:
        chance = random.Random(dice)
        (what,) = chance.choices(list(KINDS), list(KINDS.values()))
        which = chance.randint(1, 6) if chance.random() < LATE else 0
        in_time = what in ("cancel", "expire") or (what in ("fail", "restart") and not which)
        if in_time and chance.random() > LUCK:
            return
        note(f"{what}, {which} before the last")
        self._do(what, which, chance.choice(NAMES), chance.randint(1, 150))

    def _do(self, what: str, which: int, worker: str, votes: int) -> None:
        sharing = self.sharing
        match what:
            case "take":
                sharing.take(worker, 0, votes)
            case "take_of_an_old_division":
                sharing.take(worker, which, votes)
            case "bring":
                sharing.bring(which, votes if votes % 2 else None)
            case "count_alone":
                sharing.count_alone(which, votes)
            case "divide" | "divide_unheard":
                sharing.divide(which, answered=what == "divide")
            case "go_on":
                sharing.go_on(worker, heard=votes % 3 > 0)
            case "join" | "claim" | "wear_out":
                getattr(sharing, what)(worker)
            case "leave" | "hold" | "gather" | "report" | "finish" | "fail" | "restart" | "hand_back":
                getattr(sharing, what)(which)
            case "let_a_portion_end":
                sharing.let_a_portion_end(which)
            case _:
                getattr(sharing, what)()

    @invariant()
    def the_record_is_as_expected(self) -> None:
        self.sharing.assert_record()

    @invariant()
    def every_vote_is_counted_once(self) -> None:
        self.sharing.assert_votes()
        self.sharing.assert_portions()


def test_whatever_workers_do_to_a_divided_job_each_vote_is_counted_once(redis_url: str) -> None:
    class Here(Divided):
        url = redis_url

    run_state_machine_as_test(Here, settings=settings(max_examples=25, stateful_step_count=80, deadline=None))
