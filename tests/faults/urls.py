"""F48 to F50: where the URL of a clip can lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.cases import fault
from tests.faults.filehost import honest, hosting, logged, manifest, why
from tests.faults.lab import IN_CLEAR, KEY, QUICK
from tests.faults.network import certificate, in_own_network, trap
from tests.faults.raw import serving

if TYPE_CHECKING:
    from tests.faults.lab import Lab

SERVICE, OTHER = "93.184.216.34", "93.184.216.35"
"""Public addresses, which the case's own network gives to this machine."""
INNER = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1")
"""The machine itself, a private network, and where clouds keep their machines' credentials."""
TLS_FILES = ("tls.key", "tls.pem")


@fault("F48", "URLs that redirect: to another host over https; to loopback, link-local, file:, http:, in circles")
def redirected(lab: Lab) -> None:
    """Followed over https and without any secret; refused elsewhere, and nobody is knocked on there."""
    in_own_network([*INNER[1:3], SERVICE, OTHER], lambda: _redirected(lab))


def _redirected(lab: Lab) -> None:
    tls, trusted = certificate(lab.folder, OTHER)
    closed = lab.stack.enter_context(trap(INNER))
    host = lab.stack.enter_context(serving(honest(), tls=tls, address=(OTHER, 0)))
    plain = lab.stack.enter_context(serving(honest(), address=(OTHER, 0)))
    good = {"https": f"{host.url}/https.mp4", "hops": f"{host.url}/hops.mp4"}
    bad = {
        "loopback": f"https://127.0.0.1:{closed.port}/x",
        "name": f"https://localhost:{closed.port}/x",
        "linklocal": f"https://169.254.169.254:{closed.port}/latest/meta-data",
        "private": f"https://10.1.2.3:{closed.port}/x",
        "six": f"https://[::1]:{closed.port}/x",
        "mapped": f"https://[::ffff:127.0.0.1]:{closed.port}/x",
        "decimal": f"https://2130706433:{closed.port}/x",
        "noscheme": f"//127.0.0.1:{closed.port}/x",
        "file": "file:///etc/passwd",
        "data": "data:video/mp4;base64,AAAA",
        "http": f"{plain.url}/http.mp4",
        "user": f"https://user:pass@{OTHER}:1/x",
        "empty": "",
        "nohost": "https:///x",
    }
    redirects = [
        f'- {{on: file, prompt: "The {name} one", redirect: "{url}", status: 302}}'
        for name, url in (good | bad).items()
    ]
    names = [*good, *bad, "moved", "circle"]
    manifest(lab, names, head=IN_CLEAR + QUICK)
    lab.sandbox(
        "\n".join(
            [
                *redirects,
                "- {on: poll, prompt: The moved one, no_url: true}",
                f'- {{on: content, prompt: The moved one, redirect: "{host.url}/moved.mp4", status: 307}}',
                '- {on: file, prompt: The circle one, redirect: "?again", status: 301}',
            ]
        ),
        host=SERVICE,
    )
    ran = lab.run("--ca-file", trusted)
    lab.ended(ran, 0)
    lab.others_done("well", *names)
    lab.expect("I7", not closed.knocks, f"connected to {closed.knocks}")
    lab.expect("I7", not plain.requests, "a redirect led from https to http")
    asked = {one.path for one in host.requests}
    lab.expect("I9", asked == {"/https.mp4", "/hops.mp4", "/moved.mp4"}, f"over https it was asked for {asked}")
    for one in host.requests:
        secret = {"authorization", "cookie", "proxy-authorization", "referer"} & one.headers.keys()
        lab.expect("I5", not secret and KEY not in repr(one.headers), f"another host was told {secret}")
    for name in bad:
        lab.expect("I10", why(lab, name), f"{name} was not refused")
    lab.expect("I5", not lab.ledger()["violations"], "the key went to the host of the clips")
    lab.converges("--ca-file", trusted)
    lab.survived(*TLS_FILES)


@fault("F49", "video_url = file:, data:, ftp:, user info, private addresses in every spelling")
def forbidden(lab: Lab) -> None:
    """Refused, and nobody is knocked on; the service itself is asked; told where nothing else is left."""
    in_own_network([*INNER[1:3], SERVICE, OTHER], lambda: _forbidden(lab))


def _forbidden(lab: Lab) -> None:
    closed = lab.stack.enter_context(trap(INNER))
    host = lab.stack.enter_context(serving(honest(), address=(OTHER, 0)))
    at = f":{closed.port}/x"
    urls = {
        "file": "file:///etc/passwd",
        "data": "data:video/mp4;base64,AAAAIGZ0eXA=",
        "ftp": f"ftp://127.0.0.1{at}",
        "gopher": f"gopher://127.0.0.1{at}",
        "javascript": "javascript:alert(1)",
        "relative": "/etc/passwd",
        "user": f"http://user:pass@{OTHER}:{host.url.rpartition(':')[2]}/user.mp4",
        "username": f"http://user@127.0.0.1{at}",
        "plain": f"http://127.0.0.1{at}",
        "any": f"http://0.0.0.0{at}",
        "decimal": f"http://2130706433{at}",
        "hex": f"http://0x7f000001{at}",
        "octal": f"http://0177.0.0.1{at}",
        "short": f"http://127.1{at}",
        "circled": f"http://①②⑦.⓪.⓪.①{at}",
        "dotted": f"http://127.0.0.1.{at}",
        "name": f"http://localhost{at}",
        "six": f"http://[::1]{at}",
        "mapped": f"http://[::ffff:127.0.0.1]{at}",
        "mappedhex": f"http://[::ffff:7f00:1]{at}",
        "mappedprivate": f"http://[::ffff:10.1.2.3]{at}",
        "compatible": f"http://[::127.0.0.1]{at}",
        "nat64": f"http://[64:ff9b::7f00:1]{at}",
        "sixtofour": f"http://[2002:7f00:1::]{at}",
        "zone": f"http://[fe80::1%25lo]{at}",
        "private": f"http://10.1.2.3{at}",
        "metadata": f"http://169.254.169.254{at}",
        "backslash": f"http://127.0.0.1\\\\@{OTHER}{at}",
        "port": "http://93.184.216.35:99999/x",
        "nohost": "http:///x",
    }
    polls = [f'- {{on: poll, prompt: The {name} one, set: {{video_url: "{url}"}}}}' for name, url in urls.items()]
    manifest(lab, [*urls, "stuck"], head=IN_CLEAR + QUICK)
    lab.sandbox(
        "\n".join(
            [
                *polls,
                f'- {{on: poll, prompt: The stuck one, times: 60, set: {{video_url: "http://169.254.169.254{at}"}}}}',
                "- {on: content, prompt: The stuck one, times: 4, status: 500, body: broken}",
            ]
        ),
        host=SERVICE,
    )
    ran = lab.run()
    lab.ended(ran, 5)
    lab.others_done("well", *urls)
    lab.expect("I7", not closed.knocks, f"connected to {closed.knocks}")
    lab.expect("I7", not host.requests, "a URL with a password in it was used")
    for name in urls.keys() - {
        "file",
        "data",
        "ftp",
        "gopher",
        "javascript",
        "relative",
        "backslash",
        "port",
        "nohost",
    }:
        reasons = why(lab, name)
        lab.expect("I10", "not allowed" in reasons or "not a public address" in reasons, f"{name}: {reasons!r}")
    lab.expect("I5", not any("pass" in line["reason"] for line in logged(lab, "user", "DownloadFailed")), "a password")
    lab.says(ran, "stuck", "batchvid run", "free")
    lab.converges()
    lab.survived()


@fault("F50", "one URL for two jobs")
def shared_url(lab: Lab) -> None:
    """Both are saved, and a person is warned, with the names of both and what to do."""
    host = hosting(lab, {"first": [honest()], "second": [honest()]}, both="first")
    ran = lab.run()
    lab.ended(ran, 0)
    lab.others_done("first", "second", "well")
    lab.expect("I9", len(host.asked("first")) == 2 and not host.asked("second"), "the URLs were not the same")
    lab.says(ran, "first", "second", "the same URL", "look at both", "batchvid export")
    lab.expect("I10", "'well'" not in ran.text, "a job with a URL of its own was warned of")
    lab.converges()
    lab.survived()
