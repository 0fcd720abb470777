"""What was delivered against what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from batchvid.domain.delivery import differences

CLIP = {"width": 1280, "height": 720, "duration_s": 8.0, "audio": True}


@pytest.mark.parametrize(
    ("asked", "clip", "found"),
    [
        ({"size": "1280x720", "seconds": "8"}, {}, ()),
        ({}, {}, ()),
        ({"size": None, "seconds": None}, {}, ()),
        ({"size": "16x9"}, {}, ()),
        ({"size": "16x9"}, {"width": 1360, "height": 768}, ()),
        ({"size": "16x9"}, {"width": 854, "height": 480}, ()),
        ({"size": "9x16"}, {}, ("1280x720 pixels, which is not 9x16",)),
        ({"size": "1x1"}, {"width": 720, "height": 720}, ()),
        ({"size": "4x3"}, {}, ("1280x720 pixels, which is not 4x3",)),
        ({"size": "720x1280"}, {}, ("1280x720 pixels, not 720x1280",)),
        ({"size": "1920x1080"}, {}, ("1280x720 pixels, not 1920x1080",)),
        ({"size": "1280x720"}, {"width": 1280, "height": 722}, ("1280x722 pixels, not 1280x720",)),
        ({"size": "landscape"}, {}, ()),
        ({"seconds": "8"}, {"duration_s": 8.1}, ()),
        ({"seconds": "5"}, {"duration_s": 5.0417}, ()),
        ({"seconds": "8"}, {"duration_s": 7.76}, ()),
        ({"seconds": "8"}, {"duration_s": 8.26}, ("8.26 s, not 8 s",)),
        ({"seconds": "8"}, {"duration_s": 4.0}, ("4.00 s, not 8 s",)),
        ({"seconds": "auto"}, {}, ()),
        ({"seconds": "-1"}, {}, ()),
        ({"seconds": "nan"}, {}, ()),
        ({"form": {"generate_audio": "true"}}, {"audio": False}, ("no sound, which was asked for",)),
        ({"form": {"sound": "off"}}, {}, ("sound, which was not asked for",)),
        ({"form": {"sound": "a whisper"}}, {"audio": False}, ()),
        (
            {"size": "1080x1080", "seconds": "4"},
            {"duration_s": 8.0},
            ("1280x720 pixels, not 1080x1080", "8.00 s, not 4 s"),
        ),
    ],
)
def test_pixels_are_exact_and_ratios_and_lengths_have_room(
    asked: dict[str, Any], clip: dict[str, Any], found: tuple[str, ...]
) -> None:
    """A hint is a ratio; a length is at most a quarter of a second off."""
    assert differences(CLIP | clip | asked) == found


@pytest.mark.parametrize(
    "told",
    [{"size": 9, "seconds": [], "form": "x"}, {"size": "16x9", "width": "wide"}, {"seconds": "8", "duration_s": True}],
)
def test_a_sidecar_that_somebody_edited_raises_nothing(told: dict[str, Any]) -> None:
    """And differs in nothing."""
    assert differences(told) == ()
