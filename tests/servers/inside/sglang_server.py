"""SGLang's own HTTP server for video models, with another engine behind it.

Runs in SGLang's environment: ``python sglang_server.py PORT FOLDER MODEL``. Its routes, its form, its store and its
answers are those of the installed package; the scheduler and the model are not there.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from PIL import Image

from tests.servers.inside import absent
from tests.servers.inside.engine import Engine

GEN = "sglang.multimodal_gen"
RUNTIME = f"{GEN}.runtime"
NOT_INSTALLED = (
    "torch", "torchvision", "transformers", "diffusers", "imageio", "imageio_ffmpeg", "safetensors", "huggingface_hub",
    "filelock", "triton", "einops",
)  # fmt: skip
ENGINE = (
    "sglang.srt", "sglang.kernels", f"{GEN}.registry", f"{RUNTIME}.server_args", f"{RUNTIME}.scheduler_client",
    f"{RUNTIME}.loader", f"{RUNTIME}.layers", f"{RUNTIME}.models", f"{RUNTIME}.pipelines", f"{RUNTIME}.distributed",
    f"{RUNTIME}.managers",
)  # fmt: skip


class Scheduler:
    """What the routes hand their requests to."""

    failure_reason = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def forward(self, batches: list[Any]) -> Any:
        """Make the clip of one request; an engine's error is told as the real scheduler does."""
        (request,) = batches
        output = importlib.import_module(f"{RUNTIME}.pipelines_core.schedule_batch").OutputBatch
        path = Path(request.output_file_path())
        try:
            await asyncio.to_thread(self._make, request, path)
        except RuntimeError as error:
            return output(error=str(error))
        return output(output_file_paths=[str(path)])

    def _make(self, request: Any, path: Path) -> None:
        images = request.image_path
        first = images[0] if isinstance(images, list) else images
        picture = Image.open(first) if first else None
        self._engine.make(request.prompt, path, size=(request.width, request.height), picture=picture)


def pretend(folder: Path, model: str) -> SimpleNamespace:
    """Let the engine's modules be absent, but for what the routes ask of them; return the server's arguments."""
    arguments = SimpleNamespace(
        model_path=model, served_model_name=model, model_id=None, backend="auto", pipeline_class_name=None,
        output_path=str(folder / "outputs"), input_save_path=str(folder / "inputs"),
        attention_backend_config=None, enable_trace=False, enable_metrics=False, batching_max_size=1, num_gpus=1,
        comfyui_mode=False,
    )  # fmt: skip

    asked: dict[str, dict[str, Any]] = {
        f"{RUNTIME}.server_args": {"get_global_server_args": lambda: arguments},
        f"{RUNTIME}.scheduler_client": {"async_scheduler_client": Scheduler(Engine(folder / "engine.jsonl"))},
        f"{GEN}.registry": {"get_model_info": _model_info},
    }

    def made(name: str) -> ModuleType:
        module = absent.Absent(name)
        vars(module).update(asked.get(name, {}))
        return module

    absent.without([*NOT_INSTALLED, *ENGINE], made=made)
    absent.bare("sglang", GEN, RUNTIME, f"{RUNTIME}.pipelines_core")
    arguments.pipeline_config = _configured("pipeline_configs.wan", "Wan2_2_TI2V_5B_Config")()
    return arguments


def _model_info(*_: Any, **__: Any) -> SimpleNamespace:
    parameters = _configured("sample.wan", "Wan2_2_TI2V_5B_SamplingParam")
    return SimpleNamespace(sampling_param_cls=parameters, pipeline_cls=None)


def _configured(module: str, name: str) -> Any:
    """Return a class of the package's own about the model that it pretends to serve."""
    return getattr(importlib.import_module(f"{GEN}.configs.{module}"), name)


def main() -> None:
    """Serve."""
    port, folder, model = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    arguments = pretend(folder, model)
    app = importlib.import_module(f"{RUNTIME}.entrypoints.http_server").create_app(arguments)
    app.router.lifespan_context = importlib.import_module("starlette.routing")._DefaultLifespan(app.router)
    importlib.import_module("uvicorn").run(app, host="127.0.0.1", port=port, log_level="info")


if __name__ == "__main__":
    main()
