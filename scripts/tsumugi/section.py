"""What every model of a YAML file stands on: the strict base class, and names and numbers that are checked."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def text_like(pattern: str, wanted: str) -> Any:
    """The type of a text that matches a regular expression; the error says in words what is ``wanted``."""

    def check(value: str) -> str:
        if not re.search(pattern, value):
            raise ValueError(f"wants {wanted}")
        return value

    return Annotated[str, AfterValidator(check), Field(json_schema_extra={"pattern": pattern})]


NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # names become folder names and Snakemake wildcards: no "/", no "."
Name = text_like(NAME, "a name of letters, digits, '-' and '_' that begins with a letter or digit")


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
