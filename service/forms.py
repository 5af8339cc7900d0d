"""The multipart forms of POST /certify and POST /batches."""

from typing import Annotated

from fastapi import UploadFile
from pydantic import ConfigDict, Field

from certification.contract.parameters import Question

ModelName = Annotated[
    str | None, Field(max_length=100, description="a name from /models; by default the service's")
]


class _Asking(Question):
    model_config = ConfigDict(extra="forbid")  # a misspelt field must not become a default in silence

    model: ModelName = None

    def question(self) -> Question:
        """The question without the uploads."""
        return Question.model_validate(self.model_dump(include=set(Question.model_fields)))


class CertifyForm(_Asking):
    """One image and what is asked of it."""

    image: Annotated[UploadFile, Field(description="PNG, JPEG, WebP, BMP or GIF")]


class BatchForm(_Asking):
    """Many images and what is asked of each of them."""

    image: Annotated[list[UploadFile], Field(min_length=1, description="one part for each image")]
