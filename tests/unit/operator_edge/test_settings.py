import pytest
from hunyuan_operator.settings import Settings

ENV = {"HUNYUAN_RUNTIME_IMAGE": "serve:1", "POD_NAMESPACE": "hunyuan-system", "POD_NAME": "op-1"}


def test_what_is_optional_has_a_default() -> None:
    assert Settings.from_env({**ENV, "WORKERS": "", "WATCH_NAMESPACES": ""}) == Settings(
        runtime_image="serve:1", namespace="hunyuan-system", identity="op-1"
    )


def test_every_variable_is_read() -> None:
    extra = {
        "HUNYUAN_TRAIN_IMAGE": "train:1",
        "WATCH_NAMESPACES": "a, b,",
        "WORKERS": "9",
        "LEASE_DURATION": "30",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "JSON",
    }
    assert Settings.from_env({**ENV, **extra}) == Settings(
        runtime_image="serve:1",
        namespace="hunyuan-system",
        identity="op-1",
        train_image="train:1",
        watch_namespaces=("a", "b"),
        workers=9,
        lease_duration=30,
        log_level="DEBUG",
        log_format="json",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"HUNYUAN_RUNTIME_IMAGE": ""}, "HUNYUAN_RUNTIME_IMAGE is not set"),
        ({"POD_NAME": " "}, "POD_NAME is not set"),
        ({"WORKERS": "0"}, "WORKERS is '0', and must be a positive number"),
        ({"WORKERS": "many"}, "WORKERS is 'many', and must be a positive number"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud', and must be one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        Settings.from_env({**ENV, **change})
