"""The base of every parameter section."""

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

LARGEST = 2**32 - 1  # of any count, size or seed: what numpy takes as a seed


class Section(BaseModel):
    """Frozen, and an unknown name is an error: a typo in params.yaml never passes in silence.

    `true` is no number, and a whole number lies between -`LARGEST` and `LARGEST`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _plain_numbers(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        annotation = str(cls.model_fields[str(info.field_name)].annotation)
        if "bool" not in annotation and any(isinstance(one, bool) for one in _each(value)):
            raise ValueError("true and false are no values of it; write a number or a name")
        result = handler(value)
        if any(isinstance(one, int) and abs(one) > LARGEST for one in _each(result)):
            raise ValueError(f"a whole number of at most {LARGEST} is needed")
        return result


def _each(value: Any) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else (value,)


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """`names`; ValueError where one stands twice."""
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} stands twice; remove one")
    return names
