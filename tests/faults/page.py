"""S14: the HTML report."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from tests.faults.cases import NotHereError, fault

if TYPE_CHECKING:
    from tests.faults.lab import Lab

ATTACKS = [
    text
    for text in """
<script>alert(1)</script>
</title><script>alert(1)</script>
<img src=x onerror=alert(1)>
<svg/onload=alert(1)>
"><script>alert(1)</script>
' onmouseover='alert(1)
" onfocus="alert(1)" autofocus="
javascript:alert(1)
<a href='javascript:alert(1)'>x</a>
<iframe src=javascript:alert(1)>
<body onload=alert(1)>
</script><script>alert(1)
<!--<script>alert(1)//-->
<math><mtext></mtext><script>alert(1)</script>
{{7*7}}
{% raw %}
${7*7}
<style>*{background:url(//evil)}
<base href=//evil>
<meta http-equiv=refresh content=0>
<object data=x>
<embed src=x>
<form action=//evil>
&lt;script&gt;alert(1)&lt;/script&gt;
]]><script>alert(1)</script>
<details open ontoggle=alert(1)>
<video><source onerror=alert(1)>
<link rel=stylesheet href=//evil>
<input autofocus onfocus=alert(1)>
`-alert(1)-`
""".splitlines()
    if text
]
FORBIDDEN = {"iframe", "object", "embed", "base", "form", "math", "link", "input", "details"}
LEADS_OUT = re.compile(r"\s*(javascript|vbscript|https?|//|data:text)", re.IGNORECASE)


class Page(HTMLParser):
    """What a browser would make of a page: tags and attributes that run or lead out, and the policy."""

    def __init__(self) -> None:
        super().__init__()
        self.dangers: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at a tag."""
        given = dict(attrs)
        if given.get("http-equiv", "") == "Content-Security-Policy":
            self.policy = given.get("content") or ""
        if tag in FORBIDDEN and given:
            self.dangers.append(f"{tag} {given}")
        self.dangers += [f"{tag} {name}" for name in given if name.startswith("on")]
        outward = [given[name] or "" for name in ("href", "src", "action", "data", "poster") if name in given]
        self.dangers += [f"{tag} {value[:60]}" for value in outward if LEADS_OUT.match(value)]


@fault("S14", f"{len(ATTACKS)} XSS payloads in prompts and errors, and the HTML report of the run")
def scripted_report(lab: Lab) -> None:
    """Show them as text, under a policy that runs no script of anybody else."""
    if "No such command" in lab.call("report", "--help").err:
        raise NotHereError("this batchvid has no report yet")
    rows = "\n".join(json.dumps({"id": f"j{n}", "prompt": f"{n} {text}"}) for n, text in enumerate(ATTACKS))
    (lab.folder / "rows.jsonl").write_text(rows + "\n", encoding="utf-8")
    lab.manifest("  - {from: rows.jsonl}")
    rules: list[dict[str, Any]] = [
        {
            "on": "create",
            "prompt": f"{n} *",
            "status": 400,
            "body": json.dumps({"error": {"message": text, "code": ""}}),
        }
        for n, text in enumerate(ATTACKS)
        if n % 2
    ]
    lab.sandbox(json.dumps(rules))
    lab.run()
    ran = lab.call("report", lab.manifest_path)
    lab.ended(ran, 0)
    text = (lab.output / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    lab.expect("I7", not page.dangers, f"in the report: {page.dangers[:5]}")
    lab.expect("I7", "<script>alert" not in text, "a payload stands in the report")
    lab.expect("I7", "default-src 'none'" in page.policy, f"the policy is {page.policy!r}")
    lab.expect("I7", "unsafe-inline" not in re.sub(r"style-src[^;]*", "", page.policy), "scripts may stand in the page")
    lab.survived("rows.jsonl")
