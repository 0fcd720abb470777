"""Clips that stand in a JSON answer: whatever blocks it comes in, the clip and the text around it come out whole."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.providers.inline import DataURLs, names_before_first


def parted(body: bytes, cuts: list[int], number: int = 1) -> tuple[bytes, bytes]:
    """Feed *body* in blocks that end at *cuts*, and return the text and the clip of a *number*."""
    parts, places = DataURLs(number), [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    blocks = [body[one:other] for one, other in pairwise(places) if other > one]
    found = [parts.feed(block) for block in [*blocks, b""]]
    return b"".join(text for text, _ in found), b"".join(clip for _, clip in found)


@given(
    clip=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    kind=st.sampled_from(["mp4", "webm", "mp4;codecs=avc1.42"]),
    safe=st.booleans(),
    padded=st.booleans(),
    slashes=st.booleans(),
    before=st.text(max_size=60),
    after=st.text(max_size=60),
)
def test_a_clip_comes_out_whole_in_whatever_blocks(  # noqa: PLR0917 hypothesis gives them by name
    clip: bytes, cuts: list[int], kind: str, safe: object, padded: object, slashes: object, before: str, after: str
) -> None:
    """Both alphabets of base64, with padding or without, and slashes that JSON escapes."""
    packed = (urlsafe_b64encode if safe else b64encode)(clip).decode()
    url = f"data:video/{kind};base64,{packed if padded else packed.rstrip('=')}"
    body = json.dumps({"before": before, "video_url": url, "after": after})
    text, found = parted((body.replace("/", "\\/") if slashes else body).encode(), cuts)
    assert found == clip
    told = json.loads(text)
    assert told.pop("video_url").rstrip("=") == url.partition(",")[0] + ",1"
    assert told == {"before": before, "after": after}


@given(st.binary(max_size=900), st.lists(st.integers(0, 900), max_size=6))
def test_a_text_without_a_clip_stays_as_it_is(body: bytes, cuts: list[int]) -> None:
    """Nothing of any other answer is lost."""
    assert parted(body, cuts) == (body, b"")


@pytest.mark.parametrize("body", [b'{"u":"data:video/mp4;base64,A', b'{"u":"data:video/mp4;base64,AAAA=A"}'])
def test_what_is_no_base64_does_not_raise(body: bytes) -> None:
    """What came of it is no clip, and is refused as such."""
    parted(body, [])
    assert names_before_first(body) == ["u"]


@given(st.lists(st.integers(0, 400), max_size=6))
def test_the_clip_of_a_number_comes_out_of_several(cuts: list[int]) -> None:
    """The first of an answer may be what a clip was made of."""
    packed = [b64encode(one).decode() for one in (b"input", b"the clip", b"more")]
    body = json.dumps({"video": [f"data:video/mp4;base64,{one}" for one in packed]}).encode()
    for number, clip in ((1, b"input"), (2, b"the clip"), (3, b"more"), (4, b"")):
        text, found = parted(body, cuts, number)
        assert found == clip
        assert [one.rpartition(",")[2].rstrip("=") for one in json.loads(text)["video"]] == ["1", "2", "3"]
