import pytest

from certification.errors import UserMistake
from certification.hardware import describe
from certification.setup import Setup

SETUPS = [
    Setup("cpu", "eager", "float32", 1000, channels_last=False, folded=False, threads=2),
    Setup("cpu", "openvino", "bfloat16", 256, threads=16),
    Setup("cpu", "openvino", "int8", 256, threads=2),
    Setup("cuda", "compile-cuda-graph", "float16", 4096),
]


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_a_setup_can_be_read_back_from_its_text(setup: Setup) -> None:
    assert Setup.parse(str(setup)) == setup


def test_a_setup_can_be_read_back_from_a_certificate() -> None:
    for setup in SETUPS[:3]:
        assert Setup.of(describe(setup)) == setup


@pytest.mark.parametrize(
    "text",
    ["", "cpu", "tpu:eager:float32:8", "cpu:eager:float32:0", "cpu:eager:float32:x", "cpu:magic:float32:8",
     "cpu:eager/odd:float32:8", "cpu:eager:float8:8", "cpu:eager:float32:8:9"],
)  # fmt: skip
def test_what_is_no_setup_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(UserMistake, match="is not a set-up"):
        Setup.parse(text)
