"""The multipart forms of POST /certify and POST /batches."""

from typing import Annotated

from fastapi import UploadFile
from pydantic import Field

from certification.contract.parameters import Question

ModelName = Annotated[
    str | None, Field(max_length=100, description="a name from /models; by default the service's")
]


class CertifyForm(Question):
    """One image and what is asked of it."""

    model: ModelName = None
    image: Annotated[UploadFile, Field(description="PNG, JPEG, WebP, BMP or GIF")]

    def question(self) -> Question:
        """The question without the upload."""
        return Question.model_validate(self.model_dump(include=set(Question.model_fields)))
