"""The checks before a model is added: one image, one answer, however it is computed."""

import numpy as np
import torch
from torch import Tensor

from smoothcert.engines.autotune import available_device, default_config
from smoothcert.engines.engine import Engine, noisy_pixels
from smoothcert.engines.function_check import Scores, alike, check_classifier, probe_images
from smoothcert.errors import BadModelFile, InternalError, InvalidRequest
from smoothcert.models.added import AddedModel
from smoothcert.models.onnx.second_reading import openvino_scores
from smoothcert.votes import VoteRange

_SMALL_IMAGE = 10_000  # C*H*W
_VOTES, _VOTES_LARGE = 1000, 16
_HINT = "Are its weights, --crop and --range right?"


def check_added(model: AddedModel) -> dict[str, str]:
    """What was checked, in words.

    Raises InvalidRequest: it fails on such images, is no function of one image, or is read differently
    elsewhere; InternalError: no engine runs it.
    """
    card = model.card
    images_BCHW = probe_images(card.input_shape, card.sigma)
    scores = Scores(model.network, None, None)
    check_classifier(scores, images_BCHW, len(card.labels), "the network", _HINT)
    compared = {} if model.onnx is None else _compare_readings(model, images_BCHW)
    return compared | _vote_twice(model)


def _compare_readings(model: AddedModel, images_BCHW: Tensor) -> dict[str, str]:
    """Our reading of an ONNX file against OpenVINO's. Raises BadModelFile: they differ."""
    assert model.onnx is not None
    with torch.no_grad():
        ours_BK = model.network(images_BCHW)
        given = model.network[0](images_BCHW)  # type: ignore[index]
    theirs = openvino_scores(model.onnx, given.numpy())
    if theirs is None:
        return {"compared": "OpenVINO does not read this file by itself; nothing to compare with"}
    if theirs.shape != tuple(ours_BK.shape) or not alike(ours_BK, torch.from_numpy(theirs.copy())):
        raise BadModelFile(
            "SmoothCert and OpenVINO read this file differently, so neither is trusted with it. "
            "Export the network again, with another version of the operators."
        )
    difference = float(np.abs(ours_BK.numpy() - theirs).max())
    return {"compared": f"OpenVINO reads it alike (scores differ by {difference:.1g} at most)"}


def _vote_twice(model: AddedModel) -> dict[str, str]:
    """Certifies one noisy input twice. Raises InvalidRequest: the votes differ; InternalError: no engine."""
    card = model.card
    channels, height, width = card.input_shape
    votes = _VOTES if channels * height * width <= _SMALL_IMAGE else _VOTES_LARGE
    config = default_config(card.input_shape, available_device())
    engine = Engine(model.network, card.input_shape, len(card.labels), config)
    pixels_HWC = noisy_pixels((1, height, width, channels), 255 * card.sigma)[0]
    image_CHW = pixels_HWC.clamp(0, 255).to(torch.uint8).permute(2, 0, 1).contiguous().numpy()
    asked = VoteRange("estimation", 0, votes)
    first_K, again_K = [engine.sampler(image_CHW, card.sigma, 0).count(asked) for _ in (0, 1)]
    if not np.array_equal(first_K, again_K):
        raise InvalidRequest("The network answers the same noisy image differently; it is no function.")
    if not first_K.sum():
        raise InternalError("The network gave no finite score for a noisy image.")
    most = f"{first_K.max()} for {card.labels[int(first_K.argmax())]!r}"
    said = f"{votes} votes on a noisy test image, twice the same: {most}"
    return {"function": said, "engine": str(config)}
