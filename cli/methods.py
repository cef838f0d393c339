"""The methods of `adapt fit --method`, and where one must not be asked for."""

from adaptpose.config import FitConfig, Start
from adaptpose.errors import ConfigError, expected_message, unknown_name_message
from adaptpose.rounds_config import METHODS, RoundsConfig, method_config

ADAPTPOSE = "adaptpose"
"""The published method, with a generator and discriminators."""
POSENET3D = "posenet3d"
"""The published method without any source: 2D alone, `adapt fit` only."""
DEFAULT = "full"
"""What `adapt fit` does unless told: the best of all on every task of the open benchmark."""
NAMES = (DEFAULT, ADAPTPOSE, *(name for name in METHODS if name != DEFAULT), POSENET3D)

_STARTS: dict[str, Start] = {"augment": "wide", "viewpoint": "viewpoint"}
"""What the generator of `ADAPTPOSE` starts from where that is on top of another method."""


def check_method(method: str) -> RoundsConfig | None:
    """The defaults of a method that works in rounds; None for `ADAPTPOSE`, alone or on another.

    ConfigError for an unknown method and an impossible combination.
    """
    for part in _parts(method):
        if part not in NAMES:
            raise ConfigError(f"--method: {unknown_name_message('method', part, NAMES)}")
    if POSENET3D in _parts(method):
        wanted = f"'{POSENET3D}' alone, with adapt fit"
        raise ConfigError(expected_message("--method", wanted, method))
    if is_adversarial(method):
        adversarial_config(method)
        return None
    try:
        return method_config(method)
    except ConfigError as error:
        raise ConfigError(f"--method: {error}") from error


def method_words(method: str | None) -> str:
    """How a message names the method of --method; None: not given, so the default one."""
    return f"{DEFAULT}, the default method" if method is None else f"--method {method}"


def is_adversarial(method: str) -> bool:
    """Whether a method is `ADAPTPOSE`, alone or on top of another."""
    return ADAPTPOSE in _parts(method)


def adversarial_config(method: str) -> FitConfig:
    """The defaults of an adversarial method; ConfigError for mixtures that are none."""
    others = [part for part in _parts(method) if part != ADAPTPOSE]
    if not others:
        return FitConfig()
    if len(others) > 1 or others[0] not in _STARTS:
        wanted = f"'{ADAPTPOSE}' alone, or with {' or '.join(_STARTS)}"
        fix = " or ".join(f"{one}+{ADAPTPOSE}" for one in _STARTS)
        raise ConfigError(expected_message("--method", wanted, method, fix))
    return FitConfig(start=_STARTS[others[0]])


def check_start_setting(method: str, config: FitConfig) -> None:
    """Raise ConfigError if settings take from an adversarial method what its name says."""
    start = adversarial_config(method).start
    if start not in ("source", config.start):
        wanted = f"'{start}', as --method {method} says"
        fix = f"leave it out, or --method {ADAPTPOSE}"
        raise ConfigError(expected_message("fit.start", wanted, f"'{config.start}'", fix))


def _parts(method: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in method.split("+")))
