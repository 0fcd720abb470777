"""Whether uploaded bytes are a picture that the service would take."""

from __future__ import annotations

from io import BytesIO

MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


def picture_type(data: bytes) -> str | None:
    """Give the true type of the picture in *data*, or ``None`` when there is none.

    One that cannot be decoded to its end is none, and neither is one of a type that the service does not take.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 a heavy import, for uploads only

    try:
        with Image.open(BytesIO(data), formats=tuple(MIME)) as picture:
            picture.load()
            return MIME.get(picture.format or "")
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        return None
