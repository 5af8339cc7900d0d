from service.examples import CERTIFICATE
from smoothcert.cli.formatting import describe, so_far
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Progress


def test_no_printed_figure_claims_more_than_was_proved() -> None:
    assert so_far(Progress(samples=1, of=2, radius=0.99996)) == "radius 0.9999 so far"
    claims = {"radius": 1.23456789, "target_radius": 1.2345678, "target_met": True, "alpha": 0.0010000004}
    said = describe(Certificate.model_validate(CERTIFICATE | claims))
    assert "radius 1.2345 " in said
    assert "target radius 1.2345678: proved" in said
    assert "at most 0.0010000004 " in said
