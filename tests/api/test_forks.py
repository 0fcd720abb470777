"""Programs that fork while a run is going: no child has the run, its lock, its journal or its connections."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.conftest import Desk

START = """
import asyncio, multiprocessing, os, signal, sys, threading, time, warnings
from concurrent.futures import ProcessPoolExecutor
import batchvid
# Python 3.12 and newer warn of every fork in a program with threads: that is the program's own affair.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
fork = multiprocessing.get_context("fork")
manifest = batchvid.load("m.yaml", base_url=sys.argv[1])
def double(x):
    return 2 * x
async def reaped(pid):
    # Not in a thread: a child that unwinds its parent's loop takes away what wakes that loop for a thread.
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        await asyncio.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    print("A CHILD HANGS", flush=True)
"""
WAYS = {
    "a pool of processes": """
async def main():
    with ProcessPoolExecutor(2, mp_context=fork) as pool:
        async for clip in batchvid.stream(manifest):
            assert await asyncio.get_running_loop().run_in_executor(pool, double, 21) == 42
            print(clip.id, flush=True)
""",
    "workers that are forked again for each clip": """
async def main():
    async for clip in batchvid.stream(manifest):
        for _ in range(3):
            with fork.Pool(2) as pool:
                assert pool.map(double, [1, 2, 3]) == [2, 4, 6]
                pool.close()
                pool.join()
        print(clip.id, flush=True)
""",
    "a child that leaves by way of its parent's loop": """
async def main():
    async for clip in batchvid.stream(manifest):
        if (pid := os.fork()) == 0:
            sys.exit(0)
        await reaped(pid)
        print(clip.id, flush=True)
""",
    "a child that goes on with its parent's loop": """
async def main():
    parent, clips = os.getpid(), batchvid.stream(manifest)
    try:
        async for clip in clips:
            if os.getpid() == parent and (pid := os.fork()):
                await reaped(pid)
                print(clip.id, flush=True)
    except RuntimeError as error:
        assert os.getpid() != parent and f"process {parent}" in str(error), error
        os._exit(0)
""",
    "a child that ends at once": """
async def main():
    async for clip in batchvid.stream(manifest):
        if (pid := os.fork()) == 0:
            os._exit(0)
        await reaped(pid)
        print(clip.id, flush=True)
""",
    "a child that is killed": """
async def main():
    async for clip in batchvid.stream(manifest):
        if (pid := os.fork()) == 0:
            time.sleep(600)
        os.kill(pid, signal.SIGKILL)
        await reaped(pid)
        print(clip.id, flush=True)
""",
    "a thread that forks all the time": """
def forking(over):
    while not over.is_set():
        child = fork.Process(target=double, args=(1,))
        child.start()
        child.join(20)
        if child.exitcode is None:
            child.kill()
            print("A CHILD HANGS", flush=True)
        time.sleep(0.005)
async def main():
    over = threading.Event()
    thread = threading.Thread(target=forking, args=(over,))
    thread.start()
    try:
        async for clip in batchvid.stream(manifest):
            # Not print: a child that is forked in its midst waits for the stream's lock, and nobody gives it back.
            os.write(1, f"{clip.id}\\n".encode())
    finally:
        over.set()
        thread.join()
""",
    "children of another kind": """
async def main():
    async for clip in batchvid.stream(manifest):
        for kind in ("spawn", "forkserver"):
            child = multiprocessing.get_context(kind).Process(target=os.getpid)
            child.start()
            await asyncio.to_thread(child.join, 20)
            assert child.exitcode == 0
        print(clip.id, flush=True)
""",
    "a child that leaves from a task beside the run": """
async def main():
    async def forking():
        while True:
            if (pid := os.fork()) == 0:
                sys.exit(0)
            await reaped(pid)
    beside = asyncio.get_running_loop().create_task(forking())
    summary = await batchvid.run(manifest)
    assert summary.counts[batchvid.State.DONE] == 3
    print("job-1 job-2 job-3", flush=True)
    beside.cancel()
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_program_may_fork_while_its_run_goes_on(desk: Desk, way: str) -> None:
    """No child waits for the run, none harms it: every clip comes, each bought once, and the program ends."""
    desk.manifest(*["kite"] * 3, submits="20/s", in_flight="1")
    (desk.folder / "program.py").write_text(
        f'{START}{WAYS[way]}\nif __name__ == "__main__":\n    asyncio.run(main())\n    print("END")\n', encoding="utf-8"
    )
    command = [sys.executable, "-W", "error", "program.py", desk.service.api]
    with subprocess.Popen(
        command, cwd=desk.folder, env=desk.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as program:  # fmt: skip
        try:
            out, err = program.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            out, err = program.communicate()
            pytest.fail(f"the program hangs: {out}{err}")
    assert program.returncode == 0, err
    assert out.split() == ["job-1", "job-2", "job-3", "END"], err
    assert set(desk.creates().values()) == {1}
    assert set(desk.states().values()) == {"done"}


OUTLIVED = """
async def main():
    async with asyncio.TaskGroup() as group:
        run = group.create_task(batchvid.run(manifest))
        while not list(manifest.output.glob("*.mp4")):
            await asyncio.sleep(0.02)
        if (pid := os.fork()) == 0:
            held = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    held.append(os.readlink(f"/proc/self/fd/{name}"))
                except FileNotFoundError:
                    pass
            print(os.getpid(), [one for one in held if ".batchvid" in one], flush=True)
            sys.stdin.readline()
            sys.exit(0)
"""


@pytest.fixture
def survivor(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    """Return a program that was killed half way; the child that it forked lives until its input ends."""
    desk.manifest(*["kite"] * 3, "never", submits="20/s", in_flight="4")
    (desk.folder / "program.py").write_text(f"{START}{OUTLIVED}\nasyncio.run(main())\n", encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "program.py", desk.service.api], cwd=desk.folder, env=desk.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as program:  # fmt: skip
        yield program


def test_a_child_that_outlives_a_killed_program_keeps_nobody_out(desk: Desk, survivor: subprocess.Popen[str]) -> None:
    """The next run begins at once, beside it, and what the child does at its end harms no journal."""
    assert survivor.stdin is not None
    assert survivor.stdout is not None
    pid, held = survivor.stdout.readline().split(maxsplit=1)
    survivor.kill()
    survivor.wait()
    assert held.strip() == "[]"
    os.kill(int(pid), 0)
    ran = desk.batchvid("run", "m.yaml", "--only", "job-[1-3]")
    assert ran.code in {0, 5}, ran
    survivor.stdin.close()
    assert survivor.stdout.read() == ""  # the child has ended, in its own way
    with sqlite3.connect(desk.out / ".batchvid" / "journal.db") as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    journal.close()
    assert [state for job, state in desk.states().items() if job != "job-4"] == ["done"] * 3
    assert set(desk.creates().values()) == {1}


OWN_RUN = """
def own():
    other = batchvid.load("m.yaml", output="other", base_url=sys.argv[1])
    try:
        asyncio.run(batchvid.run(manifest))
    except batchvid.OutputBusyError as error:
        assert f"process {os.getppid()}" in str(error), error
    else:
        sys.exit("the child took its parent's output")
    summary = asyncio.run(batchvid.run(other, only="job-[12]"))
    sys.exit(summary.counts[batchvid.State.DONE] - 2)
async def main():
    children = []
    async for clip in batchvid.stream(manifest):
        if not children:
            children.append(fork.Process(target=own))
            children[0].start()
        print(clip.id, flush=True)
        await asyncio.to_thread(children[0].join, 30)
        print(children[0].exitcode)
"""


def test_a_child_may_have_a_run_of_its_own_in_another_output(desk: Desk) -> None:
    """It is turned away from its parent's; both runs come to their end, and each buys its own clips once."""
    desk.manifest(*["kite"] * 3, submits="20/s", in_flight="1")
    program = desk.folder / "program.py"
    program.write_text(f'{START}{OWN_RUN}\nif __name__ == "__main__":\n    asyncio.run(main())\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py", desk.service.api], cwd=desk.folder, env=desk.environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["job-1", "0", "job-2", "0", "job-3", "0"]
    assert len([*(desk.folder / "other").glob("*.mp4")]) == 2
    assert sum(desk.creates().values()) == 5
