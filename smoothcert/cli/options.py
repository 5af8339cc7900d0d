"""Options that several commands have."""

from typing import Annotated, Any

import typer

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.parameters import DEFAULT_ALPHA, DEFAULT_N, DEFAULT_N0, Parameters

N = Annotated[
    int | None, typer.Option("--n", help=f"Estimation votes.  [default: {DEFAULT_N}]", show_default=False)
]
N0 = Annotated[
    int | None, typer.Option("--n0", help=f"Selection votes.  [default: {DEFAULT_N0}]", show_default=False)
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help=f"Failure probability.  [default: {DEFAULT_ALPHA}]", show_default=False),
]
Procedure = Annotated[str | None, typer.Option(help="anytime, certify (fixed n, one-sided) or predict.")]
TargetRadius = Annotated[float | None, typer.Option(help="Stop once this radius is proved, or is hopeless.")]
Tolerance = Annotated[
    float | None, typer.Option(help="Stop once at most this share of the radius is missing.")
]
Dataset = Annotated[str, typer.Option(help="A data set's name, or folder:PATH; they are listed below.")]
EngineOption = Annotated[
    str | None,
    typer.Option(help="The engine, as certificates and logs name it; else one is chosen."),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def parameters(options: dict[str, Any], sigma: float) -> Parameters:
    """Parameters from options, with the model's sigma. Raises InvalidRequest naming the option."""
    from pydantic import ValidationError

    try:
        return Parameters.model_validate({**options, "sigma": sigma})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InvalidRequest(f"--{option} {first['input']}: {first['msg']}.") from error
