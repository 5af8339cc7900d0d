"""Log rows for tests of figures and warnings."""

from smoothcert.schemas.evaluation_log import Evidence, Row


def evidence(
    alpha: float = 0.001, n: int = 1000, counts: tuple[int, ...] = (990, 10), sigma: float = 0.5
) -> Evidence:
    return Evidence(100, n, alpha, sigma, "one_sided", 0.97, 0.03, counts, "ab")


def rows(count: int, step: int = 1, **changes: object) -> tuple[Row, ...]:
    """Right answers over ten classes, radius 0.5."""
    return tuple(
        Row(**{**vars(Row(i * step, i % 10, i % 10, 0.5, True, 0.1)), **changes}) for i in range(count)
    )
