"""vLLM-Omni's own HTTP server, with another engine behind it.

Runs in vLLM-Omni's environment: ``python vllm_omni_server.py PORT FOLDER MODEL KEY``. Its routes, its form, its store,
and vLLM's handling of errors and keys are those of the installed packages; the engine is not there.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.servers.inside import absent
from tests.servers.inside.engine import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OMNI = "vllm_omni"
NOT_INSTALLED = (
    "torch", "torchaudio", "transformers", "diffusers", "huggingface_hub", "omegaconf", "prettytable", "openai",
    "soundfile", "aenum",
)  # fmt: skip
ENGINE = tuple(
    f"{OMNI}.{name}"
    for name in (
        "engine", "model_executor", "config.model", "config.omni_config", "config.stage_config", "patch",
        "quantization", "distributed", "platforms", "worker", "core",
    )
)  # fmt: skip
OF_VLLM = (
    "vllm.exceptions", "vllm.entrypoints.serve.exception_handling", "vllm.entrypoints.serve.engine.protocol",
    "vllm.entrypoints.serve.middleware.authenticate", "vllm.envs", "vllm.v1.engine.exceptions",
)  # fmt: skip
"""What is unpacked of vLLM."""
PROMPTS = ("vllm.inputs", "vllm.inputs.engine")


class Client:
    """The engine as the handler of videos sees it."""

    errored = False
    default_sampling_params_list: tuple[Any, ...] = ()
    od_config = None
    stage_configs = (
        {"final_output": True, "final_output_type": "video", "stage_type": "diffusion"},
    )  # what the handler asks whether videos are made here

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def generate(self, *, prompt: Any, sampling_params_list: list[Any], **_: Any) -> AsyncIterator[Any]:
        """Yield the finished clip as the encoded MP4 that a real engine may hand over."""
        size = (sampling_params_list[0].width, sampling_params_list[0].height)
        picture = prompt.get("multi_modal_data", {}).get("image")
        with TemporaryDirectory() as name:
            path = Path(name) / "clip.mp4"
            await asyncio.to_thread(self._engine.make, prompt["prompt"], path, size=size, picture=picture)
            yield SimpleNamespace(images=[path.read_bytes()])

    async def abort(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


def pretend() -> None:
    """Let the engine's modules be absent, and vLLM but for its handling of errors and keys."""
    pydantic = importlib.import_module("pydantic")
    prompt = importlib.import_module("typing_extensions").TypedDict("Prompt", {})

    class Models(ModuleType):
        """The bodies of routes that are not asked here."""

        __path__: list[str] = []  # noqa: RUF012 a module's

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            setattr(self, name, type(name, (pydantic.BaseModel,), {"__module__": self.__name__}))
            return getattr(self, name)

    def made(name: str) -> ModuleType | None:
        if name in PROMPTS:
            module = absent.Absent(name)
            for one in ("TextPrompt", "TokensPrompt", "EmbedsPrompt", "PromptType", "TokensInput"):
                setattr(module, one, prompt)
            return module
        return Models(name) if name.startswith("vllm.entrypoints.") and name.endswith(".protocol") else None

    absent.without(["vllm", *NOT_INSTALLED, *ENGINE], present=OF_VLLM, made=made)
    absent.bare(OMNI, f"{OMNI}.config")


def main() -> None:
    """Serve."""
    port, folder, model, key = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    os.environ["VLLM_OMNI_SERVER_STORAGE__PATH"] = str(folder / "outputs")
    pretend()
    server = importlib.import_module(f"{OMNI}.entrypoints.openai.api_server")
    video = importlib.import_module(f"{OMNI}.entrypoints.openai.serving_video")
    authenticate = importlib.import_module("vllm.entrypoints.serve.middleware.authenticate")
    app = importlib.import_module("fastapi").FastAPI()
    client = Client(Engine(folder / "engine.jsonl"))
    app.state.args = SimpleNamespace(log_error_stack=False)
    app.state.api_server_count = 1
    app.state.engine_client = client
    app.state.stage_configs = client.stage_configs
    app.state.openai_serving_video = video.OmniOpenAIServingVideo.for_diffusion(client, model, client.stage_configs)
    app.include_router(server.router)
    importlib.import_module("vllm.entrypoints.serve.exception_handling.register").init_exception_handler(app)
    app.add_middleware(authenticate.AuthenticationMiddleware, tokens=[key])
    importlib.import_module("uvicorn").run(app, host="127.0.0.1", port=port, log_level="info")


if __name__ == "__main__":
    main()
