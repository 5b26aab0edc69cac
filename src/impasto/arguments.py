"""Arguments of the form ``key=value``, read into a dataclass that says what there is."""

from dataclasses import MISSING as NO_DEFAULT
from typing import Any, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

Options = TypeVar("Options")

_KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number"}


def parse_arguments(options: type[Options], argv: list[str], program: str) -> Options:
    """Read ``key=value`` arguments; values stay as they are typed, with no YAML in them.

    Args:
        options: A dataclass; fields whose default is ``omegaconf.MISSING`` must be given.
        argv: Arguments such as ``input=photo.jpg``; of a key given twice, the last counts.
        program: Name of the program, for messages.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of another type.
    """
    schema = OmegaConf.structured(options)
    fields = options.__dataclass_fields__  # type: ignore[attr-defined]
    needed = [name for name, field in fields.items() if field.default in (MISSING, NO_DEFAULT)]
    for argument in argv:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(
                f"Arguments look like key=value, such as {needed[-1]}=...: got {argument!r}."
            )
        if key not in fields:
            raise ValueError(f"Unknown key {key!r}: known are {', '.join(fields)}.")
        if value in ("", MISSING):  # "???", which OmegaConf would take for a value to come
            raise ValueError(f"Nothing follows {key}=: give a value, or leave it out.")
        try:
            schema[key] = value.replace("${", r"\${")  # a file name, no interpolation
        except OmegaConfBaseException:
            kind = _KINDS.get(fields[key].type, "text")
            raise ValueError(f"{key} must be {kind}, got {value!r}.") from None
    for key in needed:
        if OmegaConf.is_missing(schema, key):
            keys = " and ".join(f"{name}=..." for name in needed)
            raise ValueError(f"{key}= is missing; {program} needs {keys}")
    return options(**{name: schema[name] for name in fields})
