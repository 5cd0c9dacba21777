"""What every model of a YAML file stands on: the strict base class, and names and numbers that are checked."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # names become folder names and Snakemake wildcards: no "/", no "."
Name = Annotated[str, Field(pattern=NAME)]


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # Python, and so pydantic, takes true for 1
        raise ValueError("wants a number")
    return value


NUMBER = BeforeValidator(_number)
PositiveFloat = Annotated[float, Field(gt=0), NUMBER]
PositiveInt = Annotated[int, Field(gt=0), NUMBER]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]
Seed = Annotated[int, Field(ge=0), NUMBER]


class Section(BaseModel):
    """Base of every section: immutable, strict about keys, and without infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
