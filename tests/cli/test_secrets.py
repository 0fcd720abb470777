"""Where the key comes from, and that it goes nowhere but to the service."""

from __future__ import annotations

import base64
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.project import Project

DISGUISES = (
    KEY,
    urllib.parse.quote(KEY, safe=""),
    urllib.parse.quote(KEY),
    base64.b64encode(KEY.encode()).decode().rstrip("="),
    base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    KEY.removeprefix("sk-"),
)


def written_below(folder: Path) -> bytes:
    """Return every byte of every file below a folder."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_key_is_written_nowhere(project: Project) -> None:
    """Not to a stream, not to a file: journal, log, sidecars, in any disguise, however talkative the run is."""
    project.manifest("kite", "doomed", "unsure", attempts="1")
    told = [project.batchvid("run", "m.yaml", "-v"), project.batchvid("run", "m.yaml", "--json", "-v")]
    told += [project.batchvid("doctor", "m.yaml"), project.batchvid("status", "m.yaml", "--json")]
    told += [project.batchvid("run", "m.yaml", "--base-url", "nonsense")]
    everything = "".join(ran.out + ran.err for ran in told).encode() + written_below(project.folder)
    assert b"submitted" in everything
    for disguise in DISGUISES:
        assert disguise.encode() not in everything, disguise


def test_a_private_key_file_is_as_good_as_the_variable(project: Project) -> None:
    """And wins over it."""
    project.manifest("kite")
    key = project.folder / "key"
    key.write_text(f"{KEY}\n", encoding="utf-8")
    key.chmod(0o600)
    assert project.batchvid("run", "m.yaml", "--api-key-file", "key", COMETAPI_KEY="sk-wrong").code == 0


def test_a_key_file_that_others_can_read_is_refused(project: Project) -> None:
    """With the command that mends it, and without its content."""
    project.manifest("kite")
    key = project.folder / "key"
    key.write_text(KEY, encoding="utf-8")
    key.chmod(0o644)
    ran = project.batchvid("run", "m.yaml", BATCHVID_API_KEY_FILE="key")
    assert ran.code == 78, ran
    assert "chmod 600 key" in ran.err
    assert KEY not in ran.err


def test_the_credentials_of_systemd_win_over_everything(project: Project) -> None:
    """A unit's ``LoadCredential=`` is enough."""
    project.manifest("kite")
    credentials = project.folder / "credentials"
    credentials.mkdir()
    (credentials / "COMETAPI_KEY").write_text(KEY, encoding="utf-8")
    wrong = project.folder / "key"
    wrong.write_text("sk-wrong", encoding="utf-8")
    wrong.chmod(0o600)
    more = {"CREDENTIALS_DIRECTORY": str(credentials), "COMETAPI_KEY": "sk-wrong"}
    assert project.batchvid("run", "m.yaml", "--api-key-file", "key", **more).code == 0


@pytest.mark.parametrize("key", ["two words", "ключ"])
def test_what_cannot_be_a_key_is_refused_before_anything_is_sent(project: Project, key: str) -> None:
    """A paste that went wrong is said, and not repeated."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", COMETAPI_KEY=key)
    assert ran.code == 78, ran
    assert "COMETAPI_KEY" in ran.err
    assert key not in ran.err


def test_a_key_in_the_manifest_is_refused_and_not_repeated(project: Project) -> None:
    """It would be shared with the manifest."""
    project.manifest("kite", text="service: {key_env: sk-0123456789abcdef0123}")
    ran = project.batchvid("check", "m.yaml")
    assert ran.code == 65, ran
    assert "NAME" in ran.err
    assert "0123456789" not in ran.err


@pytest.mark.parametrize("how", ["manifest", "flag", "variable"])
def test_the_key_is_not_sent_to_another_machine_without_encryption(project: Project, how: str) -> None:
    """Exit 78 before a connection, a journal or a name look-up; it says what to write."""
    address = "http://gateway.invalid:8080/v1"
    project.manifest("kite", text=f"service: {{base_url: '{address}'}}" if how == "manifest" else "")
    flags = ("--base-url", address) if how == "flag" else ()
    ran = project.batchvid("run", "m.yaml", *flags, BATCHVID_BASE_URL=address if how == "variable" else None)
    assert ran.code == 78, ran
    assert "service.allow_http" in ran.err
    assert not list(project.folder.rglob("journal.db"))
    seen = project.batchvid("doctor", "m.yaml", *flags, BATCHVID_BASE_URL=address if how == "variable" else None)
    assert seen.code == 78, seen
    assert "service.allow_http" in seen.out


def test_it_is_sent_where_the_manifest_allows_it(project: Project) -> None:
    """The run goes as far as looking for the host, and doctor shows that it is allowed."""
    head = "service: {base_url: 'http://gateway.invalid:8080', allow_http: true}"
    project.manifest("kite", text=head)
    seen = project.batchvid("doctor", "m.yaml", BATCHVID_BASE_URL=None)
    assert "everybody on the way to http://gateway.invalid:8080/v1 can read the key" in seen.out
    assert "could not be resolved" in seen.out
    assert "service.allow_http: is on" in project.batchvid("check", "m.yaml").err
