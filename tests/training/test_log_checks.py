from smoothcert.schemas.evaluation_log import Log, Row
from tests.training.rows import evidence, rows
from training.log_checks import check_log


def test_a_whole_balanced_test_set_with_one_protocol_gives_no_warning() -> None:
    assert check_log(Log("a", rows(10_000, evidence=evidence()))) == []


def test_mixed_alpha_is_warned_of_within_a_log_and_between_logs() -> None:
    strict, lax = rows(10_000, evidence=evidence(0.001)), rows(10_000, evidence=evidence(0.01))
    assert check_log(Log("a", strict[:5000] + lax[5000:])) == ["mixed alpha: 0.001, 0.01"]
    (warning,) = check_log(Log("a", strict), [Log("b", lax)])
    assert warning.startswith("mixed alpha: 0.001 here, 0.01 in b")


def test_alpha_of_a_log_without_evidence_is_inferred_from_its_largest_radius() -> None:
    # sigma 0.5, n = 100 000: at alpha = .001 no radius exceeds 1.90573, at .01 none exceeds 1.95526
    strict, lax = Log("a", rows(10_000, radius=1.906)), Log("b", rows(10_000, radius=1.955))
    assert any("mixed alpha: 0.001 here, 0.01 in b" in warning for warning in check_log(strict, [lax]))
    assert any("rounded up" in warning for warning in check_log(strict))
    assert check_log(lax) == []


def test_subsets_and_different_images_are_warned_of() -> None:
    (warning,) = check_log(Log("a", rows(500, step=20)))
    assert warning == "a subset: 500 images in steps of 20 (idx 0, 20, ...)"
    assert "427 images is no whole test set" in check_log(Log("a", rows(427)))[0]
    against = check_log(Log("a", rows(500, step=20)), [Log("b", rows(10_000))])
    assert "not the same images: a subset of 500 here, 10000 in b" in against


def test_duplicates_are_warned_of() -> None:
    assert "duplicates: 1 image counted more than once" in check_log(Log("a", (*rows(10), *rows(1))))


def test_collapsed_classifiers_are_warned_of() -> None:
    constant = tuple(Row(i, i % 10, 3, 1.9, i % 10 == 3, 0.1) for i in range(10_000))
    assert any(
        "collapsed: 10000 of 10000 answers are class 3" in warning
        for warning in check_log(Log("a", constant))
    )
    three = tuple(Row(i, i % 10, i % 3, 1.9, i % 10 == i % 3, 0.1) for i in range(10_000))
    assert "collapsed: it answers with 3 of 10 classes only" in check_log(Log("a", three))
    silent = rows(10_000, predict=-1, correct=False, radius=0.0)
    assert "collapsed: it abstains on every image" in check_log(Log("a", silent))


def test_mixed_sigma_and_n_and_unproved_radii_are_warned_of() -> None:
    mixed = rows(5000, evidence=evidence(sigma=0.25)) + rows(5000, evidence=evidence(n=500, counts=(490, 10)))
    warnings = check_log(Log("a", mixed))
    assert "mixed sigma: 0.25, 0.5" in warnings
    assert "mixed n: 500, 1000" in warnings
    assert check_log(Log("a", rows(10_000, radius=1.3, evidence=evidence()))) == [
        "unproved: 10000 radii are larger than their n and alpha can prove"
    ]


def test_contradictory_rows_are_warned_of() -> None:
    warnings = check_log(Log("a", rows(10_000, evidence=evidence(n=500), correct=False)))
    assert (
        "contradiction: in 10000 rows `correct` is not `label = predict`; `correct` was believed" in warnings
    )
    assert "contradiction: in 10000 rows the counts add up to more than the n votes drawn" in warnings
