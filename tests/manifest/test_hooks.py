"""Whom to tell: what ``notify`` may hold, and that nothing of a URL is repeated in a complaint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.notice import Hook
from batchvid.manifest import values

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

JOBS = "jobs: [{id: kite, prompt: A kite.}]\n"


def test_webhooks_and_variables_are_taken_as_they_stand(desk: Desk) -> None:
    """In the order of the manifest; none is the default."""
    loaded = desk.load(f"notify: [json://hooks.example.net/done, jsons://h:8443/x?y=1, https://h/x, $HOOK_URL]\n{JOBS}")
    assert loaded.notify == (
        Hook("json://hooks.example.net/done"),
        Hook("jsons://h:8443/x?y=1"),
        Hook("https://h/x"),
        Hook(env="HOOK_URL"),
    )
    assert desk.load(JOBS).notify == ()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("s3cret", "is not a URL: write such as jsons://host/path"),
        ("$s3cret-x", "is not the name of a variable"),
        ("$", "is not the name of a variable"),
        ("json://", "is not a URL"),
        ("json:///s3cret", "is not a URL"),
        ("jsons://h:s3cret/x", "is not a URL"),
        ("json://[s3cret/x", "is not a URL"),
        ("{url: json://h/s3cret}", ""),
    ],
)
def test_what_is_no_way_to_tell_anybody_is_refused_without_being_repeated(desk: Desk, written: str, words: str) -> None:
    """It may be a secret that stands in the wrong place."""
    (complaint,) = desk.complaints(f"notify: [{written!r}]\n{JOBS}" if words else f"notify: [{written}]\n{JOBS}")
    assert ": notify[0]: " in complaint
    assert words in complaint
    assert "s3cret" not in complaint


def test_other_schemes_need_the_extra_and_say_how_to_get_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found when the manifest is checked, not at six in the morning."""
    text = f"notify: ['slack://s3cret/b/c']\n{JOBS}"
    assert desk.load(text).notify[0].scheme == "slack"
    monkeypatch.setattr(values, "NOTIFY_EXTRA", "a_module_that_is_not_there")
    (complaint,) = desk.complaints(text)
    assert complaint.endswith(
        "slack:// needs the extra: pip install 'batchvid[notify]' (without it: json:// and jsons://)"
    )
    desk.load(f"notify: [json://h/x]\n{JOBS}")
