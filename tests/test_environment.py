"""What a child process is given of the surroundings."""

from __future__ import annotations

import pytest

from batchvid.domain.errors import ConfigError, Exit
from batchvid.providers.credentials import find_key, without_secrets


def test_a_child_process_is_given_no_secret() -> None:
    """Neither the variable that the manifest names nor what looks like a secret; what an interpreter needs stays."""
    environ = {
        "MY_VEO": "sk-1", "COMETAPI_KEY": "sk-2", "AWS_SECRET_ACCESS_ID": "x", "GITHUB_TOKEN": "x", "DB_PASSWORD": "x",
        "CREDENTIALS_DIRECTORY": "/run/x", "PATH": "/bin", "PYTHONPATH": "/src", "LANG": "C", "LD_LIBRARY_PATH": "/lib",
    }  # fmt: skip
    kept = {"PATH": "/bin", "PYTHONPATH": "/src", "LANG": "C", "LD_LIBRARY_PATH": "/lib"}
    assert without_secrets("MY_VEO", environ=environ) == kept


@pytest.mark.parametrize(
    "key",
    [
        "e",
        "task",
        "EMPTY",
        "sk-1234",
        "-------------",
        "a-b-c-d-e",
        "completed",
        "IN_PROGRESS",
        "video_url",
        "task_0001",
    ],
)
def test_what_stands_in_ordinary_answers_is_no_key(key: str) -> None:
    """It could not be taken out of them without destroying ids and status words."""
    with pytest.raises(ConfigError, match="MY_KEY") as refused:
        find_key("MY_KEY", environ={"MY_KEY": key})
    assert refused.value.exit_code is Exit.CONFIG
    assert "service" in str(refused.value)


@pytest.mark.parametrize("key", ["sk-wrong", "sk-sandbox", "12345678", "no-key-required", "sk-proj-A1b2_C3d4-e5"])
def test_other_words_of_eight_characters_are_keys(key: str) -> None:
    """Nobody knows how a service makes them."""
    assert find_key("MY_KEY", environ={"MY_KEY": f" {key}\n"}) == key
