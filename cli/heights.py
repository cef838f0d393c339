"""Heights of people as `predict` and `eval` take them."""

from adaptpose.errors import ConfigError, expected_message

GIVEN = "given"
"""The word of `eval --height` for heights by the labels."""


def parse_heights(text: str | None) -> float | dict[str, float] | None:
    """The heights (m) of --height: one for all, or by person; None if it is not given.

    ConfigError for anything else, and for what is no height of a person in metres.
    """
    from adaptpose.body_scale import check_height

    if text is None:
        return None
    if "=" not in text:
        height = _number(text)
        check_height(height, "--height")
        return height
    heights: dict[str, float] = {}
    for part in text.split(","):
        person, _, value = (word.strip() for word in part.partition("="))
        if person in heights:
            raise ConfigError(f"--height: person '{person}' is given twice (fix: give it once)")
        heights[person] = _number(value)
        check_height(heights[person], f"--height {person}=")
    return heights


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        expected = "metres such as 1.75, or 1=1.75,2=1.6 by person"
        raise ConfigError(expected_message("--height", expected, f"'{text}'")) from error
