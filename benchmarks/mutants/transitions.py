"""Which tests are asked about the code that moves a job from state to state: the record's, the worker's."""

from benchmarks.mutants.targets import Target

STORE = "certification/contract/store"

# All that the record of jobs does; what waits for time to pass comes last.
SHARED = ("shares/test_divisions", "shares/test_portions", "shares/test_crowd", "test_divided")
ANY = (
    *("test_leases", "test_jobs", "test_turns", "test_figures", "test_transitions", "test_full"),
    *("test_janitor", "test_unserved", *SHARED, "test_waiting"),
)
HELD = (
    "test_leases",
    "test_jobs",
    "test_figures",
    "test_full",
    "test_transitions",
    "test_turns",
    "test_divided",
)
ALIVE = ("test_janitor", "test_turns", "test_full", *SHARED)

SCRIPTS = {
    **dict.fromkeys(("_common", "claim", "overdue", "progress", "renew", "settle"), ANY),
    **dict.fromkeys(("divide", "exchange", "gather", "hold", "join", "leave"), (*SHARED, "test_full")),
    **dict.fromkeys(("cancel", "hand_back", "pin", "restart"), HELD),
    **dict.fromkeys(("beat", "platform", "workers"), ALIVE),
    **dict.fromkeys(("depth", "view"), ("test_jobs", "test_figures", "test_leases")),
    "submit": ("test_jobs", "test_turns", "test_figures", "test_batches", "test_transitions", "test_waiting"),
    "unserved": ("test_unserved", "test_full"),
    "figures": ("test_figures",),
    "plan": ("test_batches",),
    "spend": ("test_rates",),
}
RECORD = {
    "batches": ("test_batches", "test_figures"),
    "broker": ("test_broker", "test_scripts", "test_jobs"),
    "delivery": ("test_delivery", "test_jobs"),
    "figures": ("test_figures",),
    "jobs": ("test_jobs", "test_batches", "test_leases", "test_scripts", "test_waiting"),
    "leases": (
        *("test_leases", "test_turns", "test_figures", "test_janitor", "test_unserved"),
        "shares/test_divisions",
    ),
    "rates": ("test_rates",),
    "record": ("test_record", "test_jobs", "test_leases"),
    "scripts": ("test_jobs", "test_scripts", "test_full"),
    "shares": ("shares/test_divisions", "shares/test_portions"),
}
WORKER = {
    "keeper": ("test_keeper", "test_company", "test_helping"),
    "hand": ("test_company", "test_helping"),
    "drive": ("test_drive", "test_company"),
    "company": ("test_company", "test_helping"),
    "certifier": ("test_certifier", "test_company", "test_helping", "test_drive"),
    "pace": ("test_pace",),
    "upkeep": ("test_upkeep",),
    "drain": ("test_drain",),
}


def _target(module: str, below: str, tests: tuple[str, ...], timeout: float = 60.0) -> Target:
    return Target(module, tuple(f"{below}/{test}.py" for test in tests), timeout)


TRANSITIONS = (
    *(_target(f"{STORE}/scripts/{name}.lua", STORE, tests) for name, tests in SCRIPTS.items()),
    *(_target(f"{STORE}/{name}.py", STORE, tests) for name, tests in RECORD.items()),
    Target(
        "certification/contract/job.py",
        ("certification/contract/test_job.py", f"{STORE}/test_jobs.py", f"{STORE}/test_leases.py"),
        60.0,
    ),
    *(_target(f"worker/{name}.py", "worker", tests, timeout=2.0) for name, tests in WORKER.items()),
)
