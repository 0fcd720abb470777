"""What a child process is given of the surroundings."""

from __future__ import annotations

from batchvid.environment import without_secrets


def test_a_child_process_is_given_no_secret() -> None:
    """Neither the variable that the manifest names nor what looks like a secret; what an interpreter needs stays."""
    environ = {
        "MY_VEO": "sk-1", "COMETAPI_KEY": "sk-2", "AWS_SECRET_ACCESS_ID": "x", "GITHUB_TOKEN": "x", "DB_PASSWORD": "x",
        "CREDENTIALS_DIRECTORY": "/run/x", "PATH": "/bin", "PYTHONPATH": "/src", "LANG": "C", "LD_LIBRARY_PATH": "/lib",
    }  # fmt: skip
    kept = {"PATH": "/bin", "PYTHONPATH": "/src", "LANG": "C", "LD_LIBRARY_PATH": "/lib"}
    assert without_secrets("MY_VEO", environ=environ) == kept
