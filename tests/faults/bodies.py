"""F41 to F45: what arrives in place of a clip."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from tests.faults.cases import fault
from tests.faults.download import WHOLE, came_home, from_host, from_service
from tests.faults.filehost import ETAG, clip, fixed, honest, hosting, whole, why

if TYPE_CHECKING:
    from tests.faults.filehost import Response
    from tests.faults.lab import Lab
    from tests.faults.raw import Request


@fault("F41", "Content-Length that lies: short, long, negative, twice, no number, more than any clip has")
def lying_length(lab: Lab) -> None:
    """Never a clip that is not whole; the next transfer, or the service itself, brings it."""
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Length: 5\r\nConnection: close\r\n\r\n" % WHOLE + clip()
    lies: dict[str, Response] = {
        "short": fixed("200 OK", clip()[:6000], Content_Length="6000"),
        "long": fixed("200 OK", clip(), Content_Length=str(WHOLE + 1000), ETag=ETAG),
        "negative": fixed("200 OK", clip(), Content_Length="-5"),
        "words": fixed("200 OK", clip(), Content_Length="many"),
        "twice": lambda _: twice,
        "huge": fixed("200 OK", clip(), Content_Length="9" * 30, ETag=ETAG),
        "terabytes": fixed("200 OK", clip(), Content_Length=str(10**13), ETag=ETAG),
    }
    once: dict[str, list[Response]] = {name: [lie, honest()] for name, lie in lies.items()}
    always: dict[str, list[Response]] = {f"ever-{name}": [lie] for name, lie in lies.items()}
    hosting(lab, once | always)
    ran = lab.run()
    for name in (*once, *always):
        lab.expect("I10", why(lab, name), f"{name}: no reason is on record")
    came_home(lab, ran, [*once, *always])
    from_service(lab, "ever-short", "ever-negative", "ever-terabytes")


@fault("F42", "bodies that end by closing, or in chunks, and are cut")
def close_delimited(lab: Lab) -> None:
    """No length tells of the cut, so the index of the samples does; whole ones are taken."""

    def closing(share: float) -> Response:
        head = b'HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nETag: "v1"\r\nConnection: close\r\n\r\n'
        return lambda _: head + clip(0)[: int(len(clip(0)) * share)]

    def chunked(share: float, end: bytes) -> Response:
        head = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
        body = clip()[: int(WHOLE * share)]
        return lambda _: head + b"%x\r\n" % len(body) + body + b"\r\n" + end

    cuts: dict[str, list[Response]] = {
        f"closed-{round(share * 100)}": [closing(share)] for share in (0.002, 0.05, 0.3, 0.6, 0.9, 0.9995)
    }
    chunks: dict[str, list[Response]] = {
        "chunk-lost": [chunked(0.5, b""), honest()],
        "chunk-end": [chunked(0.02, b"0\r\n\r\n")],
        "chunk-bad": [chunked(0.5, b"zz\r\n"), honest()],
    }
    whole_ones: dict[str, list[Response]] = {"closed": [closing(1)], "chunked": [chunked(1, b"0\r\n\r\n")]}
    hosting(lab, cuts | chunks | whole_ones)
    ran = lab.run()
    from_host(lab, "chunk-lost", "chunk-bad", "chunked")
    came_home(lab, ran, [*cuts, *chunks, *whole_ones])


PAGE = (
    b"<!DOCTYPE html><html><title>\x1b]0;owned\x07\x1b[31mJust a moment\xe2\x80\xae...</title>"
    + b"<p>Verifying you are human. " * 200
)


@fault("F43", "web pages and JSON with status 200 and the type video/mp4, once, at the URL for ever, and everywhere")
def not_a_clip(lab: Lab) -> None:
    """Caught at the first bytes, and told clean and short; the service itself is asked; no clip is given up."""
    pages: dict[str, Response] = {
        "html": fixed("200 OK", PAGE),
        "bom": fixed("200 OK", b"\xef\xbb\xbf" + PAGE),
        "json": fixed("200 OK", b'{"error": {"message": "no such file", "code": "x"}}'),
        "flat": fixed("200 OK", b'{"code": "fail", "message": "\\u001b[2Jsorry"}'),
        "xml": fixed("200 OK", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
        "text": fixed("200 OK", b"Service temporarily overloaded, please come back"),
    }
    once: dict[str, list[Response]] = {name: [page, honest()] for name, page in pages.items()}
    always: dict[str, list[Response]] = {f"ever-{name}": [page] for name, page in pages.items()}
    everywhere = {"nowhere": [pages["html"]]}
    rule = "- {on: content, prompt: The nowhere one, times: 4, garbage: html, content_type: video/mp4}"
    host = hosting(lab, once | always | everywhere, rules=rule)
    ran = lab.run()
    lab.ended(ran, 5)
    lab.says(ran, "nowhere", "not a clip but a web page", "batchvid run", "free")
    lab.others_done("well", *once, *always)
    for name in (*once, *always, "nowhere"):
        reasons = why(lab, name)
        lab.expect("I10", reasons, f"{name}: nothing is on record")
        lab.expect("I10", not set(reasons) & {"\x1b", "\x07", "\u202e"}, f"{name}: {reasons[:200]!r} is not clean")
        longest = max(map(len, reasons.splitlines()))
        lab.expect("I8", longest <= 400, f"{name}: a reason of {longest} characters")
    lab.expect("I3", not (lab.output / "nowhere.mp4").exists(), "a web page became a clip")
    host.healed = True
    lab.converges()
    lab.survived()


@fault("F44", "0 bytes, 1 byte, no frames, sound alone, half an MP4 with a length that fits, another format")
def no_whole_clip(lab: Lab) -> None:
    """Refused, and kept as ``.bad`` for people; the service itself is asked."""
    tiny = clip(0)
    at = tiny.index(b"stsz")
    bodies = {
        "nothing": b"",
        "byte": b"\x00",
        "noframes": tiny[: at + 12] + bytes(4) + tiny[at + 16 :],
        "sound": sound(),
        "half": tiny[: len(tiny) // 2],
        "zeros": bytes(50_000),
        "webm": b"\x1a\x45\xdf\xa3" + bytes(3000),
    }
    scripts: dict[str, list[Response]] = {name: [whole(body)] for name, body in bodies.items()}
    hosting(lab, scripts)
    ran = lab.run()
    from_service(lab, *bodies)
    for name in ("noframes", "sound", "half", "zeros"):
        kept = lab.output / f"{name}.mp4.bad"
        lab.expect("I10", kept.exists() and kept.read_bytes() == bodies[name], f"{name} was not kept as .bad")
        lab.expect("I10", ".bad" in why(lab, name), f"{name}: it is not said where the bad one is")
    came_home(lab, ran, [*bodies])


def sound() -> bytes:
    """Return a whole MP4 that has sound and no picture."""
    import av  # noqa: PLC0415 heavy

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 44_100
        frame.planes[0].update(bytes(4096))
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    return file.getvalue()


@fault("F45", "a body that never ends: in chunks, and by an announced length beyond all clips")
def endless(lab: Lab) -> None:
    """Capped (the cap is lowered from 4 GiB to 4 MiB here); the service itself is asked."""
    cap = 4 * 1024 * 1024
    lab.constants = {"batchvid.storage.download.CLIP_MAX_BYTES": cap}
    sent = {"chunks": 0, "announced": 0}

    def pouring(name: str, head: bytes, frame: bytes) -> Response:
        def answer(request: Request) -> None:
            request.connection.sendall(head + frame.replace(bytes(8), clip(0)[:8]))
            while sent[name] < 100 * cap:
                request.connection.sendall(frame)
                sent[name] += len(frame)

        return answer

    block = bytes(256 * 1024)
    chunks = pouring(
        "chunks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(clip(0)) + clip(0) + b"\r\n",
        b"%x\r\n" % len(block) + block + b"\r\n",
    )
    announced = pouring("announced", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**15 + clip(0), block)
    hosting(lab, {"chunks": [chunks], "announced": [announced]})
    ran = lab.run()
    lab.expect("I8", sent["chunks"] < 10 * cap, f"{sent['chunks'] / 1e6:.0f} MB were taken")
    lab.expect("I8", sent["announced"] < 2 * cap, f"{sent['announced'] / 1e6:.0f} MB of an impossible clip were taken")
    left = sum(path.stat().st_size for path in lab.output.rglob("*") if path.is_file())
    lab.expect("I8", left < cap, f"{left / 1e6:.0f} MB are on disk")
    from_service(lab, "chunks", "announced")
    came_home(lab, ran, ["chunks", "announced"])
