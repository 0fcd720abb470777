"""F35 to F40, F46 and F47: what can happen to a download on its way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.faults.cases import fault
from tests.faults.filehost import ETAG, clip, cut, fixed, honest, hosting, logged, manifest, reset, whole, why
from tests.faults.raw import http

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.filehost import Response
    from tests.faults.lab import Lab, Ran
    from tests.faults.raw import Request

WHOLE = len(clip())


def came_home(lab: Lab, ran: Ran, names: Sequence[str]) -> None:
    """Look at a run that was to end with every clip on disk, in spite of all, and at a further one."""
    lab.ended(ran, 0)
    lab.others_done("well", *names)
    lab.converges()
    lab.survived()


def from_host(lab: Lab, *names: str) -> None:
    """Look whether the clips are the host's own, byte for byte."""
    lab.others_done(*names)
    for name in names:
        lab.expect("I3", (lab.output / f"{name}.mp4").read_bytes() == clip(), f"{name} is not the host's clip")


def from_service(lab: Lab, *names: str) -> None:
    """Look whether the clips came from the service itself, where the host's were no use."""
    lab.others_done(*names)
    for name in names:
        lab.expect("I3", (lab.output / f"{name}.mp4").stat().st_size < WHOLE, f"{name} is not the service's clip")


@fault("F35", "URLs that have expired: 403, 404, 410, once and for ever")
def expired(lab: Lab) -> None:
    """Ask for a fresh URL by a poll, in the end the service itself for the clip; there is no second create."""
    names = ("signed", "gone", "missing", "vanished", "hidden")
    manifest(lab, names)
    lab.sandbox("""
- {on: file, prompt: The signed one, nth: 1, expire: true}
- {on: file, prompt: The gone one, nth: 1, status: 410, body: Gone}
- {on: file, prompt: The missing one, nth: "1-2", status: 404, body: "<html>404</html>"}
- {on: file, prompt: The vanished one, status: 403, body: "<Error><Message>Request has expired</Message></Error>"}
- {on: poll, prompt: The hidden one, no_url: true}
- {on: content, prompt: The hidden one, nth: "1-2", status: 502, body: {error: {message: Upstream service returned status 403, type: server_error}}}
""")  # noqa: E501 one rule a line
    ran = lab.run()
    lab.expect("I4", len(lab.creates()) == len(names) + 1, "a clip was bought again for its URL")
    for name in names:
        lab.expect("I10", logged(lab, name, "UrlExpired"), f"{name}: no fresh URL was asked for")
    came_home(lab, ran, names)


@fault("F36", "transfers cut or reset at 0 % to 99 %, and by the end of the process")
def broken_off(lab: Lab) -> None:
    """Resumed where it broke off, by Range and If-Range, also by the next run; nothing is fetched twice."""
    lab.constants = {"batchvid.providers.http.BLOCK_S": 0.3}
    shares = {"start": 0.0, "early": 0.1, "middle": 0.5, "late": 0.99}
    held = [True]

    def halves(request: Request) -> bytes | None:
        if "range" in request.headers:
            return honest()(request)
        request.connection.sendall(cut(0.5)(request) or b"")
        at = int(WHOLE * 0.5)
        while held[0]:
            time.sleep(0.05)
            request.connection.sendall(clip()[at : at + 1])
            at += 1
        return None

    scripts: dict[str, list[Response]] = {name: [cut(share), honest()] for name, share in shares.items()}
    scripts |= {"reset": [reset(0.5), honest()], "twice": [cut(0.3), _part_then_cut(0.6), honest()], "kill": [halves]}
    host = hosting(lab, scripts)
    process = lab.start("run", lab.manifest_path)
    part = lab.output / "kill.mp4.part"
    others = ("well", *(name for name in scripts if name != "kill"))
    lab.kill_when(
        process,
        lambda: part.exists() and part.stat().st_size > 0 and all(lab.states().get(name) == "done" for name in others),
    )
    held[0] = False
    ran = lab.run()
    for name, share in shares.items():
        wanted = f"bytes={int(WHOLE * share)}-" if share else ""
        lab.expect("I8", host.asked(name) == ["", wanted], f"{name} was asked for as {host.asked(name)}")
        lab.expect("I3", host.asked(name, "if-range")[1] == (ETAG if share else ""), f"{name} without If-Range")
    lab.expect("I8", host.asked("twice")[1:] == [f"bytes={int(WHOLE * s)}-" for s in (0.3, 0.6)], "not resumed twice")
    asked = host.asked("kill")
    lab.expect("I8", len(asked) == 2 and int(asked[1][6:-1] or 0) >= int(WHOLE * 0.5), f"resumed as {asked}")
    from_host(lab, *scripts)
    came_home(lab, ran, [*scripts])


def _part_then_cut(share: float) -> Response:
    def answer(request: Request) -> bytes:
        first = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        headers = {"Content_Range": f"bytes {first}-{WHOLE - 1}/{WHOLE}", "Content_Length": str(WHOLE - first)}
        return http("206 Partial", clip()[first : int(WHOLE * share)], ETag=ETAG, **headers)

    return answer


@fault("F37", "a server that ignores Range, and answers 200 with the whole clip")
def range_ignored(lab: Lab) -> None:
    """From zero: no byte of the first part is kept."""
    host = hosting(lab, {"hurt": [cut(0.5), whole()]})
    ran = lab.run()
    lab.expect("I8", len(host.asked("hurt")) == 2, "more transfers than needed")
    lab.expect("I10", "broke off" in why(lab, "hurt"), "the reason is not on record")
    from_host(lab, "hurt")
    came_home(lab, ran, ["hurt"])


@fault("F38", "206 with a wrong, missing or impossible Content-Range, multipart/byteranges, 206 to a plain request")
def wrong_ranges(lab: Lab) -> None:
    """From zero: a part that is not the one asked for is never appended."""
    half, rest = int(WHOLE * 0.5), clip()[int(WHOLE * 0.5) :]
    ranges = {
        "shifted": f"bytes {half - 1}-{WHOLE - 2}/{WHOLE}",
        "fromzero": f"bytes 0-{WHOLE - 1}/{WHOLE}",
        "backward": f"bytes {half}-3/{WHOLE}",
        "otherunit": f"items {half}-{WHOLE - 1}/{WHOLE}",
        "words": "all of it",
        "digits": f"bytes {half}-{'9' * 500}/{'9' * 500}",
    }
    parts: dict[str, Response] = {
        name: fixed("206 Partial", rest, ETag=ETAG, Content_Range=text) for name, text in ranges.items()
    }
    boundary = "THE_BOUNDARY"
    multipart = (
        b"--THE_BOUNDARY\r\nContent-Type: video/mp4\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (half, WHOLE - 1, WHOLE)
        + rest
        + b"\r\n--THE_BOUNDARY--\r\n"
    )
    parts["multipart"] = fixed(
        "206 Partial", multipart, Content_Type=f"multipart/byteranges; boundary={boundary}", ETag=ETAG
    )
    parts["missing"] = fixed("206 Partial", rest, ETag=ETAG)
    scripts = {name: [cut(0.5), answer, honest()] for name, answer in parts.items()}
    unasked = fixed("206 Partial", rest, ETag=ETAG, Content_Range=f"bytes {half}-{WHOLE - 1}/{WHOLE}")
    host = hosting(lab, scripts | {"unasked": [unasked, unasked, honest()]})
    ran = lab.run()
    for name in scripts:
        lab.expect("I3", host.asked(name) == ["", f"bytes={half}-", ""], f"{name} was asked for as {host.asked(name)}")
    from_host(lab, *scripts)
    came_home(lab, ran, [*scripts, "unasked"])


@fault("F39", "416: the part on disk is longer than what the server has now")
def not_satisfiable(lab: Lab) -> None:
    """Once from zero, in the same step; a server that says it for ever does not keep the run."""
    short = clip(20_000)
    stale = fixed("416 Range Not Satisfiable", b"", Content_Range=f"bytes */{len(short)}", ETag='"v2"')
    host = hosting(lab, {"hurt": [cut(0.9), stale, whole(short, etag='"v2"')], "always": [stale]})
    ran = lab.run()
    asked = host.asked("hurt")
    lab.expect("I8", [bool(one) for one in asked] == [False, True, False], f"asked for as {asked}")
    lab.expect("I3", (lab.output / "hurt.mp4").read_bytes() == short, "not the clip that the server has now")
    from_service(lab, "always")
    came_home(lab, ran, ["hurt", "always"])


@fault("F40", "the clip changes between two transfers: another ETag, a weak one, none; If-Range honoured or ignored")
def other_version(lab: Lab) -> None:
    """From zero: bytes of two versions are never joined."""
    other = clip(PADDING_OF_OTHER)
    half = int(WHOLE * 0.5)
    headers = {"Content_Range": f"bytes {half}-{len(other) - 1}/{len(other)}"}
    ignoring = fixed("206 Partial", other[half:], ETag='"v2"', **headers)
    weak = fixed("200 OK", clip()[:half], Content_Length=str(WHOLE), ETag='W/"v1"')
    nameless = fixed("200 OK", clip()[:half], Content_Length=str(WHOLE))
    host = hosting(
        lab,
        {
            "honoured": [cut(0.5), honest(other, etag='"v2"')],
            "ignored": [cut(0.5), ignoring, whole(other, etag='"v2"')],
            "weak": [weak, honest(other, etag='W/"v2"')],
            "nameless": [nameless, honest(other)],
        },
    )
    ran = lab.run()
    for name in ("weak", "nameless"):
        lab.expect("I3", host.asked(name) == ["", ""], f"{name}: a part was asked for that nothing vouches for")
    for name in host.scripts:
        lab.expect("I3", (lab.output / f"{name}.mp4").read_bytes() == other, f"{name} is no version of the clip")
    came_home(lab, ran, [*host.scripts])


PADDING_OF_OTHER = 290_000


@fault("F46", "a transfer that stalls: before its first byte, in the middle, again and again, for ever")
def stalled(lab: Lab) -> None:
    """Given up after a silence (1 s here in place of 30 s) and resumed where it was."""
    lab.constants = {"batchvid.providers.http.SILENCE_S": 1.0}

    def stalling(share: float) -> Response:
        def answer(request: Request) -> None:
            first = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            until = max(first, int(WHOLE * share))
            sent = clip()[first:until]
            if first:
                where = f"bytes {first}-{WHOLE - 1}/{WHOLE}"
                data = http("206 Partial", sent, ETag=ETAG, Content_Length=str(WHOLE - first), Content_Range=where)
            else:
                data = cut(share)(request) or b""
            request.connection.sendall(data)
            time.sleep(4)

        return answer

    def mute(_: Request) -> None:
        time.sleep(4)

    host = hosting(
        lab,
        {
            "middle": [stalling(0.5), honest()],
            "again": [stalling(0.2), stalling(0.5), stalling(0.8), honest()],
            "mute": [mute, honest()],
            "ever": [mute],
        },
    )
    ran = lab.run()
    lab.expect("I8", ran.seconds < 25, f"took {ran.seconds:.0f} s")
    for name in host.scripts:
        lab.expect("I10", why(lab, name), f"{name}: no reason is on record")
    lab.expect("I8", host.asked("middle") == ["", f"bytes={int(WHOLE * 0.5)}-"], f"resumed as {host.asked('middle')}")
    asked = ["", *(f"bytes={int(WHOLE * share)}-" for share in (0.2, 0.5, 0.8))]
    lab.expect("I8", host.asked("again") == asked, f"resumed as {host.asked('again')}")
    from_host(lab, "middle", "again", "mute")
    came_home(lab, ran, [*host.scripts])


@fault("F47", "a transfer that trickles: a few bytes, often enough to pass for alive")
def trickling(lab: Lab) -> None:
    """Given up by the rule of the minimum speed (over 2 s here in place of 60 s) and resumed where it was."""
    lab.constants = {"batchvid.storage.download.SPEED_WINDOW_S": 2.0, "batchvid.providers.http.BLOCK_S": 0.3}

    def trickle(request: Request) -> None:
        request.connection.sendall(cut(0.1)(request) or b"")
        for at in range(int(WHOLE * 0.1), WHOLE):
            request.connection.sendall(clip()[at : at + 1])
            time.sleep(0.05)

    host = hosting(lab, {"hurt": [trickle, honest()]})
    ran = lab.run()
    lab.expect("I8", ran.seconds < 15, f"took {ran.seconds:.0f} s")
    lab.expect("I10", "too slow" in why(lab, "hurt"), "the reason is not on record")
    resumed = int(host.asked("hurt")[1].removeprefix("bytes=").rstrip("-") or 0)
    lab.expect("I8", resumed > WHOLE * 0.1, f"resumed from {resumed}")
    from_host(lab, "hurt")
    came_home(lab, ran, ["hurt"])
