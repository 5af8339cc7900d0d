"""Any order of deliveries, duplicates, deaths, late writes, lost seconds, cancellations and new epochs."""

import random
from collections.abc import Callable

import redis
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from smoothcert.jobs.broker import connect
from tests.jobs.machine import PLATFORMS, RANGE, Hand, Site, undisturbed
from tests.support.ranges import ranges_of

ACTIONS = {
    "deliver": 4, "deliver_an_old_message": 1.5, "step": 14, "step_and_lose_the_answer": 1, "leave": 2,
    "ask_for_help": 1.5, "die": 1, "write_late": 1, "worker_goes": 0.6, "worker_comes": 0.8, "sweep": 1.5,
    "save": 0.5, "lose_what_followed": 0.4, "restart": 0.2, "cancel": 0.1,
}  # fmt: skip


class Transitions(RuleBasedStateMachine):
    """One rule of many actions, drawn by weight: of several rules Hypothesis leaves some out of every run."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.client: redis.Redis = connect(self.url)
        self.client.flushdb()
        self.site = Site(self.client)

    def teardown(self) -> None:
        """Whatever happened, the job ends; and with all its votes, unless it was cancelled or failed."""
        job = self.site.complete()
        self.site.check()
        if job.status == "succeeded":
            assert job.certificate is not None
            assert tuple(job.certificate.counts) == undisturbed().result.counts
        self.client.close()

    @rule(dice=st.integers(0, 2**64 - 1))
    def act(self, dice: int) -> None:
        chance = random.Random(dice)
        (what,) = chance.choices(list(ACTIONS), list(ACTIONS.values()))
        note(what)
        site, worker_ = self.site, chance.choice(list(PLATFORMS)[:-1])
        working = [hand for hand in site.hands if not hand.dead]
        dead = [hand for hand in site.hands if hand.dead]
        acts: dict[str, Callable[[], object]] = {
            "deliver": lambda: site.begin(site.sent[-1], worker_),
            "deliver_an_old_message": lambda: site.begin(chance.choice(site.sent), worker_),
            "ask_for_help": lambda: site.begin(site.help_wanted(), worker_),
            "worker_goes": lambda: site.workers.leave(worker_),
            "worker_comes": lambda: site.live(worker_),
            "sweep": site.sweep,
            "save": site.save,
            "lose_what_followed": site.lose_what_followed,
            "cancel": lambda: site.store.cancel(site.job_id),
            "write_late": lambda: site.step(chance.choice(dead)) if dead else None,
        }
        if what in acts:
            acts[what]()
        elif working:
            self._work(what, chance.choice(working), chance)

    def _work(self, what: str, hand: Hand, chance: random.Random) -> None:
        match what:
            case "step":
                self.site.step(hand, share=chance.random() < 0.5)
            case "step_and_lose_the_answer":
                self.site.step(hand, repeat=2)
            case "leave":
                self.site.step(hand, leave=True)
            case "die":
                hand.dead = True
                self.site.deaths += 1
            case "restart":
                self.site.restart(hand)

    @invariant()
    def no_vote_is_lost_or_twice(self) -> None:
        self.site.check()


def test_any_order_of_transitions_counts_every_vote_once(redis_url: str) -> None:
    class Here(Transitions):
        url = redis_url

    with ranges_of(RANGE):
        run_state_machine_as_test(
            Here, settings=settings(max_examples=40, stateful_step_count=60, deadline=None)
        )
