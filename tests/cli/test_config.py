"""The user's config file: profiles below the manifest, found where the platform keeps such files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchvid.providers.credentials import config_file
from tests.cli.project import KEY
from tests.cli.test_doubts import on_a_terminal

if TYPE_CHECKING:
    from tests.cli.project import Project


@pytest.mark.parametrize(
    ("system", "environ", "found"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/batchvid/config.yaml"),
        ("linux", {"XDG_CONFIG_HOME": "x", "HOME": "/h"}, "/h/.config/batchvid/config.yaml"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/batchvid/config.yaml"),
        ("win32", {"APPDATA": "/a", "HOME": "/h"}, "/a/batchvid/config.yaml"),
        ("win32", {"HOME": "/h"}, None),
        ("linux", {}, None),
    ],
)
def test_the_file_is_where_the_platform_keeps_such_files(
    system: str, environ: dict[str, str], found: str | None
) -> None:
    """A path that is not whole is none (XDG base directories), and without a home there is no file."""
    assert config_file(environ, system=system) == (None if found is None else Path(found))


def configured(project: Project, text: str) -> Path:
    """Write the config file of the project's user."""
    path = project.folder / ".config" / "batchvid" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def bare(project: Project, *, more: str = "") -> None:
    """Write a manifest without account and price."""
    prompt = f"kite 1 of {project.folder.name}"
    path = project.folder / "m.yaml"
    path.write_text(f'{more}\njobs: [{{id: kite, prompt: "{prompt}"}}]\n', encoding="utf-8")


STUDIO = """
profile: house
profiles:
  house: {{prices: {{veo3-fast: 0.10}}}}
  studio:
    service: {{base_url: "{api}", key_env: STUDIO_KEY}}
    prices: {{veo3-fast: 0.25}}
    limits: {{budget: 9.00, typical_time: 0.3s, poll_every: 0.05s..0.5s}}
"""


def test_flag_environment_manifest_and_the_file_itself_choose_the_profile(project: Project) -> None:
    """In this order; none is none."""
    configured(project, STUDIO.format(api=project.service.api))

    def price(*flags: str, more: str = "", **environment: str | None) -> float:
        bare(project, more=more)
        ran = project.batchvid("plan", "m.yaml", "--json", *flags, **environment)
        assert ran.code == 0, ran
        found: float = ran.told[-1]["price"]
        return found

    assert price() == 0.1
    assert price(more="profile: studio") == 0.25
    assert price(more="profile: studio", BATCHVID_PROFILE="house") == 0.1
    assert price("--profile", "studio", more="profile: house", BATCHVID_PROFILE="none") == 0.25
    assert price("--profile", "none") == 0.0
    assert price("--profile", "studio", more="prices: {veo3-fast: 0.50}") == 0.5


def test_a_run_goes_to_the_profile_s_account_and_says_so(project: Project) -> None:
    """With its key, in its first lines, and before it asks; advice keeps the flag."""
    path = configured(project, STUDIO.format(api=project.service.api))
    bare(project)
    account = {"BATCHVID_BASE_URL": None, "COMETAPI_KEY": None}
    refused = project.batchvid("run", "m.yaml", "--profile", "studio", **account)
    assert refused.code == 78
    assert "STUDIO_KEY" in refused.err
    code, shown = on_a_terminal(project, "run", "m.yaml", answers=[("[y/N]", "n")])
    assert code == 5
    assert "(profile house)" in shown
    ran = project.batchvid("run", "m.yaml", "--profile", "studio", STUDIO_KEY=KEY, **account)
    assert ran.code == 0, ran
    assert f"profile studio ({path}): requests go to {project.service.api}" in ran.out
    assert sum(project.creates().values()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("profiles: {a: {service: {key_env: sk-1234567890abcdefghij}}}", ":1:16: profiles.a.service: holds what looks"),
        ("profiles: {a: {prices: {m: cheap}}}", ":1:25: profiles.a.prices.m"),
        ("profiles: {a: {limits: {in_flight: 0}}}", ":1:25: profiles.a.limits.in_flight: is 0"),
        ("profiles: {a: {jobs: []}}", ":1:16: profiles.a.jobs: unknown key"),
        ("profiles: [a]", ":1:1: profiles: is a list"),
        ("profile: b\nprofiles: {a: {}}", ":1:1: profile: there is no profile 'b'"),
        ("colour: red", ":1:1: colour: unknown key: the keys here are version, profile, profiles"),
        ("a: [", ": config: is not YAML"),
    ],
)
def test_a_mistake_in_it_is_told_with_its_line(project: Project, text: str, told: str) -> None:
    """By every command that reads a manifest, and by its own; a key in it is shown by none."""
    path = configured(project, text)
    bare(project)
    for command in (("config",), ("check", "m.yaml"), ("run", "m.yaml")):
        ran = project.batchvid(*command)
        assert ran.code == 65, ran
        assert str(path) in ran.out + ran.err
        assert told in ran.out + ran.err
        assert "sk-1234567890abcdefghij" not in ran.out + ran.err
    assert project.creates() == {}


@pytest.mark.parametrize("more", ["profile: studio", ""])
def test_a_profile_that_is_not_there_is_never_passed_over(project: Project, more: str) -> None:
    """The requests would go to another account."""
    bare(project, more=more)
    flags = () if more else ("--profile", "studio")
    ran = project.batchvid("run", "m.yaml", *flags)
    assert ran.code == 78, ran
    assert f"there is no profile 'studio': there is no {project.folder}/.config/batchvid/config.yaml" in ran.err
    without = project.batchvid("run", "m.yaml", *flags, HOME=None)
    assert (without.code, "HOME is not set" in without.err) == (78, True), without


def test_what_stands_in_it_is_shown(project: Project) -> None:
    """Its path, its profiles, or an example where it is not there; for programs too."""
    where = project.folder / ".config" / "batchvid" / "config.yaml"
    assert project.batchvid("config", "--path").out == f"{where}\n"
    assert "It could hold:" in project.batchvid("config").out
    configured(project, STUDIO.format(api="https://gateway.example/v1"))
    shown = project.batchvid("config").out
    assert "house (of manifests that name none): prices veo3-fast" in shown
    assert "studio: base_url https://gateway.example/v1; key_env STUDIO_KEY" in shown
    assert project.batchvid("config", "--show").out == where.read_text("utf-8")
    told = json.loads(project.batchvid("config", "--json").out)
    assert (told["profile"], told["exists"], list(told["profiles"])) == ("house", True, ["house", "studio"])
    assert project.batchvid("config", HOME=None).code == 78


def test_the_line_for_cron_names_the_profile(project: Project) -> None:
    """So that a run whose config file is away goes to no other account; systemd may read the file."""
    configured(project, STUDIO.format(api=project.service.api))
    bare(project)
    night = ("--at", "22:00", "--until", "06:00")
    assert "--quiet --profile house" in project.batchvid("cron", "m.yaml", *night).out
    assert "--profile studio" in project.batchvid("cron", "m.yaml", "--profile", "studio", *night, "--systemd").out
    bare(project, more="profile: studio")
    (project.folder / "n.yaml").write_text("jobs: [{prompt: A kite}]\n", encoding="utf-8")
    assert project.batchvid("cron", "m.yaml", "n.yaml", *night).code == 2


def test_the_key_of_a_profile_is_told_to_no_other_service(project: Project) -> None:
    """Neither to one that the manifest names nor to one of the call: the service's own variable is asked for."""
    configured(project, STUDIO.format(api="https://studio.example/v1"))
    other = "https://other.example/v1"
    bare(project)
    asked = project.batchvid(
        "run", "m.yaml", "--profile", "studio", "--base-url", other, STUDIO_KEY=KEY, COMETAPI_KEY=None
    )
    bare(project, more=f"profile: studio\nservice: {{base_url: {other}}}")
    named = project.batchvid("run", "m.yaml", STUDIO_KEY=KEY, COMETAPI_KEY=None, BATCHVID_BASE_URL=None)
    for ran in (asked, named):
        assert (ran.code, "COMETAPI_KEY" in ran.err, "STUDIO_KEY" in ran.err) == (78, True, False), ran
