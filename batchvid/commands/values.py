"""The values that options take, as people write them: moments, lengths of time, amounts of money."""

from __future__ import annotations

import click


class Moment(click.ParamType[float]):
    """A time of day (the next one, in local time) or a full RFC 3339 moment; gives UTC epoch seconds."""

    name = "HH:MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from datetime import datetime, timedelta  # noqa: PLC0415 only where one is given

        if isinstance(value, float):
            return value
        now = datetime.now().astimezone()
        try:
            if "T" in str(value):
                return datetime.fromisoformat(str(value)).astimezone().timestamp()
            time_of_day = datetime.strptime(str(value), "%H:%M").time()  # noqa: DTZ007 local by meaning
        except ValueError:
            self.fail(f"{value!r} is no time: write 06:00, or 2026-01-31T06:00:00", param, ctx)
        moment = datetime.combine(now.date(), time_of_day).astimezone()
        if moment <= now:
            moment = datetime.combine(now.date() + timedelta(days=1), time_of_day).astimezone()
        return moment.timestamp()


class Duration(click.ParamType[float]):
    """A length of time such as ``8h`` or ``1h30m``; gives seconds."""

    name = "8h"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.manifest.units import duration_s  # noqa: PLC0415 only where one is given

        if isinstance(value, float):
            return value
        try:
            return duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Speed(click.ParamType[float]):
    """How many times as fast as the service the sandbox is: a number within bounds."""

    name = "N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.accounts import FASTEST, SLOWEST  # noqa: PLC0415 only where there is one

        try:
            found = float(str(value))
        except ValueError:
            found = 0.0
        if not SLOWEST <= found <= FASTEST:
            self.fail(f"{value!r} is no speed: write a number from {SLOWEST} to {FASTEST:.0f}", param, ctx)
        return found


class ClipMoment(click.ParamType[float]):
    """A moment of a clip: ``3.5s`` after its beginning, ``-0.2s`` before its end; gives seconds."""

    name = "-0.2s"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.manifest.units import moment_s  # noqa: PLC0415 only where one is given

        if isinstance(value, float):
            return value
        try:
            return moment_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Amount(click.ParamType[int]):
    """An amount of money such as ``25.00``; gives millionths."""

    name = "25.00"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        from batchvid.manifest.units import money_micros  # noqa: PLC0415 only where one is given

        if isinstance(value, int):
            return value
        try:
            return money_micros(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
