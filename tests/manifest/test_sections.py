"""The manifest's head: service, output, limits, prices, and how wrong keys are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.limits import InDoubt, Limits, OnChange, Rate
from batchvid.manifest import values
from batchvid.manifest.values import base_url
from batchvid.manifest.yaml_tree import scalar

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

JOBS = "jobs: [{id: kite, prompt: A kite.}]\n"


def test_a_manifest_of_one_prompt_has_the_documented_defaults(desk: Desk) -> None:
    """Everything but the jobs can be left out."""
    loaded = desk.load("jobs: [{prompt: A kite.}]\n", name="kites.yaml")
    assert loaded.base_url == "https://api.cometapi.com/v1"
    assert loaded.key_env == "COMETAPI_KEY"
    assert loaded.path == desk.folder / "kites.yaml"
    assert loaded.output == desk.folder / "out/kites"
    assert loaded.limits == Limits()
    assert loaded.warnings == ()
    (job,) = loaded.jobs
    assert (job.model, job.size, job.seconds, job.form, job.frames, job.price_micros) == (
        "veo3-fast",
        None,
        None,
        (),
        (),
        None,
    )


def test_every_limit_becomes_the_value_that_it_says(desk: Desk) -> None:
    """The whole section of the contract, once."""
    loaded = desk.load("""\
        limits:
          submits: 100/h
          requests: unlimited
          in_flight: 3
          downloads: 2
          attempts: 1
          typical_time: 1m30s
          poll_every: 2s..1m
          backoff: 0.5s..10s
          task_timeout: 1h30m
          budget: 25.10
          in_doubt: resubmit
          breaker: 4
          canary: 1
          on_change: rebuy
        prices: {veo3-fast: 0.40}
        jobs: [{prompt: A kite.}]
    """)
    assert loaded.limits == Limits(
        submits=Rate(100, 3600),
        requests=None,
        in_flight=3,
        downloads=2,
        attempts=1,
        typical_time_s=90,
        poll_shortest_s=2,
        poll_longest_s=60,
        backoff_first_s=0.5,
        backoff_longest_s=10,
        task_timeout_s=5400,
        budget_micros=25_100_000,
        in_doubt=InDoubt.RESUBMIT,
        breaker=4,
        canary=1,
        on_change=OnChange.REBUY,
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("submits: 10", '"10" is not a rate'),
        ("submits: 0/s", '"0/s" is out of bounds'),
        ("submits: -1/s", '"-1/s" is not a rate'),
        ("submits: 1e9/s", '"1e9/s" is not a rate'),
        ("submits: 999999999/s", '"999999999/s" is out of bounds: write at least 0.001/h, at most 10000'),
        ("requests: 0.0009/h", '"0.0009/h" is out of bounds'),
        (f"requests: 0.{'0' * 300}1/s", f'"0.{"0" * 58}…" is out of bounds'),
        ("requests: ٣/s", '"٣/s" is not a rate'),
        ("requests: 1_000/s", '"1_000/s" is not a rate'),
        ("requests: .inf", '".inf" is not a rate'),
        ("requests: 5/day", '"5/day" is not a rate'),
        ("in_flight: 0", "is 0: write a number from 1 to 10000"),
        ("in_flight: 10001", "is 10001: write a number from 1 to 10000"),
        ("in_flight: 1000000000000", "is 1000000000000: write a number from 1 to 10000"),
        (f"in_flight: 0x{'f' * 5000}", f'"0x{"f" * 58}…" is not a whole number'),
        (f"in_flight: 0{'7' * 5000}", f'"0{"7" * 59}…" is not a whole number'),
        ("in_flight: ٣", '"٣" is not a whole number'),
        ("in_flight: 1e3", '"1e3" is not a whole number'),
        ("in_flight: 1.5", '"1.5" is not a whole number'),
        ('in_flight: "5"', '"5" is not a whole number: write one without quotes'),
        ("in_flight: yes", '"yes" is not a whole number'),
        ("downloads: 65", "is 65: write a number from 1 to 64"),
        ("attempts: 21", "is 21: write a number from 1 to 20"),
        ("typical_time: 90", '"90" is not a time: write it with its unit'),
        ("typical_time: 1:30", '"1:30" is not a time'),
        ("task_timeout: 0s", '"0s" is out of bounds'),
        ("task_timeout: 90d", '"90d" is out of bounds'),
        ("task_timeout: 0.0009s", '"0.0009s" is out of bounds: write at least 0.001s and at most 30d'),
        ("poll_every: 0s..0s", '"0s" is out of bounds'),
        ("backoff: 0.0000000001s..1s", '"0.0000000001s" is out of bounds'),
        ("poll_every: 3s", '"3s" is not a range of times'),
        ("poll_every: 30s..3s", '"30s..3s" has the longer time first'),
        ("backoff: 1s..", '"" is not a time'),
        ("budget: -1", '"-1" is not an amount of money'),
        ("budget: .nan", '".nan" is not an amount of money'),
        (f"budget: {'9' * 5000}", f'"{"9" * 60}…" is not an amount of money'),
        (f"budget: 0.{'0' * 5000}1", f'"0.{"0" * 58}…" is not an amount of money'),
        ("budget: ٣", '"٣" is not an amount of money'),
        ("budget: 1e3", '"1e3" is not an amount of money'),
        ("budget: 99999999999", '"99999999999" is more than 1,000,000,000'),
        ("budget:", "is empty: write a value, or remove the key"),
        ("in_doubt: guess", 'is "guess": write hold or resubmit'),
        ("on_change: [keep]", "is a list, and one value is wanted"),
        ("breaker: 0", "is 0: write a number from 1"),
        ("canary: -1", "is -1: write a number from 0"),
        ("in_fligth: 3", "unknown key: did you mean in_flight?"),
        ("model: x", "unknown key here: it belongs under jobs or defaults"),
    ],
)
def test_a_wrong_limit_is_named_with_what_to_write(desk: Desk, line: str, complaint: str) -> None:
    """Each at its own line and column, and nothing else is complained about."""
    key = line.split(":", maxsplit=1)[0]
    (found,) = desk.complaints(f"limits:\n  {line}\n{JOBS}")
    assert found.startswith(f"clips.yaml:2:3: limits.{key}: {complaint}")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("version: 2", "version: is not a version that this batchvid reads"),
        ("films: kite", "films: is text, and a list is wanted"),
        ("job: []", "job: unknown key: did you mean jobs?"),
        ("budget: 3", "budget: unknown key here: it belongs under limits"),
        ("colour: red", "colour: unknown key: the keys here are version, service,"),
        ("limits: 3", "limits: is a number, and a map (key: value) is wanted"),
        ("prices: [1]", "prices: is a list, and a map (key: value) is wanted"),
        ("prices: {veo3: cheap}", 'prices.veo3.*: "cheap" is not an amount of money'),
        ("prices: {veo3: 1/min}", 'prices.veo3.*: "1/min" is not a price'),
        ("prices: {veo3: {16x9: -1}}", 'prices.veo3.16x9: "-1" is not an amount of money'),
        ("output: ~/clips", "output: begins with ~"),
        ("output: 3", 'output: 3 without quotes reads as a number, and text is wanted: write output: "3"'),
        ("defaults: {id: x}", "defaults.id: unknown key here: it belongs under jobs"),
        ("defaults: {takes: 2}", "defaults.takes: unknown key"),
        ("defaults: {form: {model: x}}", "defaults.form.model: is not a further field: write model: beside form:"),
        ("service: {base_ur: x}", "service.base_ur: unknown key: did you mean base_url?"),
    ],
)
def test_a_wrong_head_is_named_with_what_to_write(desk: Desk, line: str, complaint: str) -> None:
    """Each mistake is one problem."""
    (found,) = desk.complaints(f"{line}\n{JOBS}")
    assert found.split(": ", 1)[1].startswith(complaint)


@pytest.mark.parametrize("text", ["version: 1\n", "jobs:\n", "jobs: {}\n", "jobs: kite\n", "jobs: []\n"])
def test_a_manifest_without_jobs_is_refused(desk: Desk, text: str) -> None:
    """An empty list is more likely a mistake of whoever wrote it than a wish."""
    (found,) = desk.complaints(text)
    assert "jobs: is " in found
    assert "write a list" in found


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://api.cometapi.com", "https://api.cometapi.com/v1"),
        ("https://api.cometapi.com/", "https://api.cometapi.com/v1"),
        ("https://api.cometapi.com/v1", "https://api.cometapi.com/v1"),
        ("https://api.cometapi.com/v1/", "https://api.cometapi.com/v1"),
        ("HTTPS://API.CometAPI.com/v1//", "https://api.cometapi.com/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://gate.example/veo/", "https://gate.example/veo/v1"),
    ],
)
def test_a_base_url_has_one_normal_form(written: str, normal: str) -> None:
    """With or without /v1 and slashes, the same service is the same text; and the normal form stays."""
    assert base_url(written) == normal
    assert base_url(normal) == normal


@pytest.mark.parametrize(
    "written",
    [
        "api.cometapi.com/v1",
        "ftp://host/v1",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://me:hunter2@host/v1",
        "https://me@host/v1",
        "https://host/v1?key=hunter2",
        "https://host/v1#hunter2",
        "https://ho st/v1",
        "https://host\\@hunter2/v1",
        "https://host:99999/v1",
        "https://host:hunter2/v1",
        "https://[::1/v1",
    ],
)
def test_a_base_url_that_is_none_is_refused_and_not_repeated(desk: Desk, written: str) -> None:
    """What stands there may hold a password."""
    (found,) = desk.complaints(f"service: {{base_url: '{written}'}}\n{JOBS}")
    assert found.startswith("clips.yaml:1:11: service.base_url: ")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    "key", ["sk-abcdefghijklmnop1234", "sk_live_hunter2hunter2", "hunter2 hunter2", "a.b-c", "x" * 65]
)
@pytest.mark.parametrize("name", ["key_env", "api_key", "base_url"])
def test_a_key_in_the_service_section_is_refused_and_not_repeated(desk: Desk, key: str, name: str) -> None:
    """The manifest is a file that is shown around, and so are its problems."""
    complaints = desk.complaints(f"service:\n  {name}: {key}\n{JOBS}")
    assert complaints
    assert all(key not in complaint for complaint in complaints)


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "GH_TOKEN", "PGPASSWORD", "DATABASE_URL", "SSH_KEY", "NPM_TOKEN"]
)
def test_a_key_env_that_holds_another_secret_is_warned_of(desk: Desk, name: str) -> None:
    """It would be sent to the service; the variables of gateways and model makers are not warned of."""
    (warning,) = desk.load(f"service: {{key_env: {name}}}\n{JOBS}").warnings
    assert f"clips.yaml:1:11: service.key_env: {name} holds a secret of something else" in warning
    for usual in ("COMETAPI_KEY", "OPENAI_API_KEY", "MY_GATEWAY_TOKEN", "VEO_PASSWORD"):
        assert desk.load(f"service: {{key_env: {usual}}}\n{JOBS}").warnings == ()


@pytest.mark.parametrize(("base_url", "told"), [("http://gateway.lan:8080", "can read the key"), ("", "remove it")])
def test_http_is_allowed_only_where_the_manifest_says_so_and_it_is_told(desk: Desk, base_url: str, told: str) -> None:
    """`check` shows it each time."""
    assert not desk.load(JOBS).allow_http
    address = f"base_url: '{base_url}', " if base_url else ""
    loaded = desk.load(f"service: {{{address}allow_http: true}}\n{JOBS}")
    assert loaded.allow_http
    (warning,) = loaded.warnings
    assert "service.allow_http: is on" in warning
    assert told in warning


def test_a_key_anywhere_is_taken_out_of_messages(desk: Desk) -> None:
    """Even where a message repeats what was written."""
    complaints = desk.complaints(f"sk-abcdefghijklmnop1234: x\nfilename: sk-abcdefghijklmnop1234\n{JOBS}")
    assert len(complaints) == 2
    assert not any("abcdefghijklmnop" in complaint for complaint in complaints)


def test_messages_hold_nothing_that_moves_a_cursor(desk: Desk) -> None:
    """Control characters and bidi marks in keys are shown as one sign."""
    (found,) = desk.complaints('"\\e[2Jx\u202e": y\n' + JOBS)
    assert found.isprintable()


@pytest.mark.parametrize(
    ("price", "complaint"),
    [
        ("1000001", "jobs[0].price: a clip would cost 1,000,001, and at most 1,000,000 is taken"),
        ("1000001/s", "jobs[0].price: a clip would cost 1,000,001, and at most 1,000,000 is taken"),
        ("1000000/s", "jobs[0].seconds: a clip would cost 999,999,000,000, and at most 1,000,000 is taken"),
        ("1e-9", 'jobs[0].price: "1e-9" is not an amount of money'),
        (".nan", 'jobs[0].price: ".nan" is not an amount of money'),
    ],
)
def test_a_price_that_nobody_means_is_refused(desk: Desk, price: str, complaint: str) -> None:
    """So that the sum of all clips of the largest manifest stays a number that the journal can hold."""
    (found,) = desk.complaints(f'jobs: [{{id: kite, prompt: A kite., seconds: "999999", price: {price}}}]\n')
    assert complaint in found


@given(st.integers(0, 10**9 - 1), st.integers(0, 999_999))
def test_money_is_exact(whole: int, micros: int) -> None:
    """No float comes near it."""
    assert values.money_micros(scalar(f"{whole}.{micros:06}")) == whole * 10**6 + micros


def test_money_below_a_millionth_is_rounded_up() -> None:
    """A budget may be held a little too early, and a price never too low."""
    assert values.money_micros("0.0000001") == 1


@given(st.integers(0, 20), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_a_time_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    """Every unit may be there or not."""
    text = "".join(f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")) if n)
    assert values.duration_s(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize(
    ("written", "number"), [("20", 20), ("0x14", 20), ("024", 20), ("2_0", 20), ("-3", -3), ("0", 0)]
)
def test_whole_numbers_are_read_as_yaml_does(written: str, number: int) -> None:
    """A number field takes what YAML 1.1 calls an integer."""
    assert values.whole(scalar(written)) == number
