import pytest

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.hardware import describe
from smoothcert.errors import InvalidRequest

SETUPS = [
    EngineConfig("cpu", "eager", "float32", 1000, channels_last=False, folded=False, threads=2),
    EngineConfig("cpu", "openvino", "bfloat16", 256, threads=16),
    EngineConfig("cpu", "openvino", "int8", 256, threads=2),
    EngineConfig("cuda", "compile-cuda-graph", "float16", 4096),
]


@pytest.mark.parametrize("config", SETUPS, ids=str)
def test_a_config_can_be_read_back_from_its_text(config: EngineConfig) -> None:
    assert EngineConfig.parse(str(config)) == config


def test_a_config_can_be_read_back_from_a_certificate() -> None:
    for config in SETUPS[:3]:
        assert EngineConfig.of(describe(config)) == config


@pytest.mark.parametrize(
    "text",
    ["", "cpu", "tpu:eager:float32:8", "cpu:eager:float32:0", "cpu:eager:float32:x", "cpu:magic:float32:8",
     "cpu:eager/odd:float32:8", "cpu:eager:float8:8", "cpu:eager:float32:8:9"],
)  # fmt: skip
def test_an_invalid_config_text_raises_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an engine"):
        EngineConfig.parse(text)
