"""Whom to tell: what ``notify`` may hold, and that nothing of a URL is repeated in a complaint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.notice import Hook, When
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


def test_a_hook_may_say_when(desk: Desk) -> None:
    """Beside those that are told of the end; in any order, and by a variable too."""
    loaded = desk.load(
        "notify: [$HOOK_URL, {url: jsons://h/x, when: [doubt, end]}, "
        f"{{url: $PAGER, when: ['budget-80%', first-failure]}}]\n{JOBS}"
    )
    assert loaded.notify == (
        Hook(env="HOOK_URL", when=(When.END,)),
        Hook("jsons://h/x", when=(When.DOUBT, When.END)),
        Hook(env="PAGER", when=(When.BUDGET, When.FIRST_FAILURE)),
    )


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{url: jsons://h/s3cret}", "notify[0]: when is missing"),
        ("{when: [end]}", "notify[0]: url is missing"),
        ("{url: jsons://h/s3cret, when: []}", "notify[0].when: is empty"),
        ("{url: jsons://h/s3cret, when: end}", "notify[0].when: is text, and a list is wanted"),
        ("{url: jsons://h/s3cret, when: [night]}", "notify[0].when[0]: "),
        ("{url: s3cret, when: [end]}", "notify[0].url: is not a URL"),
        ("{url: jsons://h/s3cret, when: [end], whom: me}", "notify[0].whom: unknown key"),
    ],
)
def test_a_hook_that_says_it_wrong_is_told_where(desk: Desk, written: str, words: str) -> None:
    """And nothing of its URL is repeated."""
    (complaint,) = desk.complaints(f"notify: [{written}]\n{JOBS}")
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
