"""F01 to F24: what can happen to a paid request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.cases import fault

if TYPE_CHECKING:
    from tests.faults.lab import Lab

TWO = "  - {id: hurt, prompt: The hurt one}\n  - {id: well, prompt: Another one}"


@fault("F06", "the connection dies after the request, before the answer; the create was billed")
def reset_before_answer(lab: Lab) -> None:
    """In doubt, never sent again; the other job finishes."""
    lab.manifest(TWO)
    lab.sandbox("- {on: create, prompt: The hurt one, reset: after-effect}")
    ran = lab.run()
    lab.ended(ran, 4)
    lab.says(ran, "hurt", "in doubt", "adopt")
    lab.others_done("well")
    lab.converges(codes=(4,))
    lab.survived()
