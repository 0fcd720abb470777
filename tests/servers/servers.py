"""The servers: how each is installed and started, and what is expected of it.

None of them is played. LiteLLM and aimock are the whole program. vLLM-Omni and SGLang are their own HTTP servers with
a small engine behind them, because their models need a GPU.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchvid.sandbox.process import Options, running
from batchvid.sandbox.render import instant_clips
from batchvid.sandbox.tasks import ClipOrder
from tests.servers.environments import REPOSITORY, NodeEnvironment, PythonEnvironment
from tests.servers.jobs import KEY, PROMPTS, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

START_S = 240.0
END_S = 10.0
INSIDE = Path(__file__).parent / "inside"
MODEL = "my-video-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, and what is expected of each job there."""

    name: str
    version: str
    environment: PythonEnvironment | NodeEnvironment
    serve: Callable[[Path], AbstractContextManager[Site]]
    expected: Mapping[str, str] = field(default_factory=dict)
    """Where it differs from `EXPECTED`."""

    @property
    def title(self) -> str:
        """Return its name and version."""
        return f"{self.name} {self.version}"

    def expects(self, job: str) -> str:
        """Return what should become of a job."""
        return {**EXPECTED, **self.expected}[job]


EXPECTED = {
    "model": "refused",
    "text": "clip",
    "first": "clip from first",
    "size": "refused",
    "fails": "failed",
    "key": "pending",  # the run stops
    "two": "clip from last",  # of two frames they keep the last, and begin with it
}


# ---- processes


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def started(
    *command: str | Path, folder: Path, alive: str, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the block ends, and wait first until *alive* answers; its words go to ``server.log``."""
    log = folder / "server.log"
    clean = {name: text for name, text in os.environ.items() if not name.upper().endswith(("_KEY", "_PROXY"))}
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**clean, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(process, alive, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], alive: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            ask(alive)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"it does not serve: {log.read_text(errors='replace')[-800:]}")


def ask(url: str, key: str = "") -> Any:
    """Return what a URL answers; an HTTP error is an answer too."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310 ours
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 a server of this harness
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"status": error.code}
    except json.JSONDecodeError:
        return {}


# ---- LiteLLM's proxy, in front of the sandbox


LITELLM_UPSTREAM_KEY = "sk-upstream-77c1a4e2"


@contextmanager
def litellm(folder: Path, *, environment: PythonEnvironment) -> Iterator[Site]:
    """Serve the proxy; it routes to the sandbox, whose ledger says what was paid."""
    faults = folder / "faults.json"
    rules = [
        {"on": "create", "prompt": PROMPTS["fails"], "fail": "The model refused it."},
        {"on": "create", "prompt": PROMPTS["lost"], "status": 502, "body": {"message": "bad gateway"}, "effect": True},
    ]
    faults.write_text(json.dumps(rules))
    options = Options(provider="openai", key=LITELLM_UPSTREAM_KEY, speed=60.0, clip="full", faults_path=faults)
    port = free_port()
    with ExitStack() as stack:
        api, _ = stack.enter_context(running(options))
        route = {"model": "openai/sora-2", "api_base": api, "api_key": LITELLM_UPSTREAM_KEY}
        config = folder / "litellm.json"
        tree = {
            "model_list": [{"model_name": "sora-2", "litellm_params": route}],
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"num_retries": 0},  # else it buys a clip three times when an answer is lost
        }
        config.write_text(json.dumps(tree))
        stack.enter_context(
            started(
                environment.bin / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port),
                folder=folder, alive=f"http://127.0.0.1:{port}/health/liveliness",
                environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            )
        )  # fmt: skip

        def paid() -> Counter[str]:
            return Counter(one["prompt"] for one in ask(f"{api.removesuffix('/v1')}/_sandbox/ledger")["creates"])

        yield Site(f"http://127.0.0.1:{port}/v1", "sora-2", "1280x720", "130x70", paid)


# ---- aimock


@contextmanager
def aimock(folder: Path, *, environment: NodeEnvironment) -> Iterator[Site]:
    """Serve aimock with a fixture a job; its own journal says what it took."""
    with serving_a_clip(folder) as clip_url:
        ends = {"text": "completed", "first": "completed", "size": "completed", "two": "completed", "fails": "failed"}
        fixtures = [
            {
                "match": {"userMessage": PROMPTS[job], "model": MODEL, "endpoint": "video"},
                "response": {"video": {"id": f"video_{job}", "status": end, "url": clip_url}},
            }
            for job, end in ends.items()
        ]
        (folder / "fixtures.json").write_text(json.dumps({"fixtures": fixtures}))
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        with started(
            "node", environment.package_folder / "dist" / "cli.js",
            "--port", str(port), "--fixtures", folder / "fixtures.json",
            folder=folder, alive=f"{address}/health", environment={"AIMOCK_API_KEYS": KEY},
        ):  # fmt: skip

            def paid() -> Counter[str]:
                taken = ask(f"{address}/__aimock/journal?path=/v1/videos&method=POST&status=200", KEY)
                return Counter(one["body"]["messages"][0]["content"] for one in taken)

            yield Site(f"{address}/v1", MODEL, "256x144", "130x70", paid)


@contextmanager
def serving_a_clip(folder: Path) -> Iterator[str]:
    """Serve one clip, and yield its URL."""
    files = folder / "files"
    files.mkdir()
    (files / "clip.mp4").write_bytes(instant_clips(ClipOrder("A kite", 256, 144, seconds=2, seed=1)))

    class Files(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(files))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/clip.mp4"
        server.shutdown()


# ---- SGLang and vLLM-Omni


@contextmanager
def own_engine(folder: Path, *, environment: PythonEnvironment, script: str, alive: str) -> Iterator[Site]:
    """Serve a package's own routes with our engine behind them, which says what it made."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    ledger = folder / "engine.jsonl"

    def paid() -> Counter[str]:
        lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
        return Counter(json.loads(line)["prompt"] for line in lines)

    with started(
        environment.bin / "python", INSIDE / script, str(port), folder, MODEL, KEY,
        folder=folder, alive=f"{address}{alive}", environment={"PYTHONPATH": str(REPOSITORY)},
    ):  # fmt: skip
        yield Site(f"{address}/v1", MODEL, "256x144", "130x70", paid)


# ---- the list


NO_GPU = ("fastapi", "uvicorn", "python-multipart", "httpx", "numpy", "pillow", "av", "pyyaml", "psutil", "msgspec")
LITELLM_WITHOUT = (
    "litellm-proxy ; sys_platform == 'never'",  # repeats what litellm has, and is not everywhere
    "litellm-proxy-extras>=0.4",  # both are for a database
    "litellm-enterprise>=0.1",
)


def _litellm(version: str) -> Server:
    environment = PythonEnvironment(
        name=f"litellm-{version}", packages=(f"litellm[proxy]=={version}",), overrides=LITELLM_WITHOUT
    )
    return Server(
        name="LiteLLM",
        version=version,
        environment=environment,
        serve=partial(litellm, environment=environment),
        expected={"lost": "in_doubt"},
    )


def _aimock() -> Server:
    environment = NodeEnvironment(name="aimock", package="@copilotkit/aimock", version="1.43.0")
    return Server(
        name="aimock",
        version=environment.version,
        environment=environment,
        serve=partial(aimock, environment=environment),
        expected={"size": "clip", "first": "clip", "two": "clip"},  # it looks at prompt and model
    )


def _vllm_omni() -> Server:
    environment = PythonEnvironment(
        name="vllm-omni",
        packages=(
            *NO_GPU, "pydantic-settings", "pybase64", "jinja2", "prometheus-client", "uvloop", "regex", "cloudpickle",
        ),
        alone=("vllm-omni==0.30.0",),
        part_of="vllm==0.30.0",
        parts=("vllm/exceptions.py", "vllm/envs.py", "vllm/v1/engine/exceptions.py", "vllm/entrypoints/serve/"),
    )  # fmt: skip
    return Server(
        name="vLLM-Omni",
        version="0.30.0",
        environment=environment,
        serve=partial(own_engine, environment=environment, script="vllm_omni_server.py", alive="/health"),
        expected={"size": "clip"},
    )


def _sglang() -> Server:
    environment = PythonEnvironment(
        name="sglang", packages=(*NO_GPU, "pyzmq", "packaging", "tqdm", "python-dateutil", "requests", "orjson"),
        alone=("sglang==0.5.23",),
    )  # fmt: skip
    return Server(
        name="SGLang",
        version="0.5.23",
        environment=environment,
        serve=partial(own_engine, environment=environment, script="sglang_server.py", alive="/liveness"),
        expected={"model": "clip", "size": "clip", "key": "clip"},  # it asks for no key
    )


SERVERS = (_litellm("1.110.2"), _litellm("1.106.2"), _vllm_omni(), _sglang(), _aimock())
