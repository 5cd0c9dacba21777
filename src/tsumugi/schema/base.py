"""What every model of a YAML file stands on: the strict base class, and names and numbers that are checked."""

import operator
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, core_schema

from tsumugi.schema.plain_scalars import decimal_number, is_number_by_other_rules


@dataclass(frozen=True)
class TextLike:
    """Marks a text that has to match a regular expression; the error says in words what is ``wanted``."""

    pattern: str
    wanted: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.search(self.pattern, value):
            raise ValueError(f"wants {self.wanted}")
        return value


@dataclass(frozen=True)
class OneOf:
    """Marks a text that is one of ``names``."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # names become folder names and Snakemake wildcards: no "/", no "."
Name = Annotated[str, TextLike(NAME, "a name of letters, digits, '-' and '_' that begins with a letter or digit")]


LocalPath = Annotated[str, AfterValidator(os.path.expanduser)]  # "~" is the home folder, as in a shell


def number(value: Any) -> Any:
    """A text becomes the number that it shows in decimal digits; any other is left to the type of the key.

    Raises:
        ValueError: it is true or false, which Python, and so pydantic, takes for 1 and 0; or a text that other rules
            than those of ``plain_scalars`` would make a number of.
    """
    if isinstance(value, bool):
        raise ValueError("wants a number")
    if isinstance(value, str):
        if (shown := decimal_number(value)) is not None:
            return shown
        if is_number_by_other_rules(value):
            raise ValueError(
                "wants a number in decimal digits, as in 12, 0.5 or 1e-3, without a leading 0 and without ':' and '_'"
            )
    return value


def _whole(value: Any) -> Any:
    value = number(value)
    if isinstance(value, float) and abs(value) >= EXACT:
        raise ValueError("wants a whole number, in digits")
    return value


def _hours(value: Any) -> Any:
    if isinstance(value, str) and ":" in value:  # to YAML minutes of an hour, to Slurm minutes and seconds
        raise ValueError("wants a number of hours, without ':'; an hour and a half is 1.5")
    return number(value)


def _flag(value: Any) -> Any:
    flag = FLAGS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):  # pydantic takes 1, "y" and "t" for true
        raise ValueError("wants true or false")
    return flag


EXACT = 2**53  # a float from here on stands for several whole numbers
FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NUMBER, WHOLE = BeforeValidator(number), BeforeValidator(_whole)
PositiveFloat = Annotated[float, Field(gt=0), NUMBER]
PositiveInt = Annotated[int, Field(gt=0), WHOLE]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]
Seed = Annotated[int, Field(ge=0), WHOLE]
Hours = Annotated[float, Field(gt=0), BeforeValidator(_hours)]
Flag = Annotated[bool, BeforeValidator(_flag)]


def scalars_in(value: Any) -> Any:
    """``value`` with numbers and booleans for the texts in it that show one, at any depth.

    Raises:
        ValueError: a text that other rules than those of ``plain_scalars`` would make a number of.
    """
    if isinstance(value, Mapping):
        return {key: scalars_in(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [scalars_in(inside) for inside in value]
    return FLAGS.get(value.lower(), number(value)) if isinstance(value, str) else value


class Section(BaseModel):
    """Base of every section: immutable, strict about keys, and without infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class SectionOf:
    """Marks a section that is one of several; ``key``, a ``Literal`` in each of them, says which."""

    sections: tuple[type[Section], ...]
    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(Annotated[reduce(operator.or_, self.sections), Field(discriminator=self.key)])
