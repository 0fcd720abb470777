"""``plan`` tells of an edited job what has changed, and of several manifests what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from tests.cli.project import Project


def write(project: Project, *jobs: str) -> None:
    """Write a manifest with these jobs."""
    path = project.manifest()
    path.write_text(path.read_text("utf-8") + "".join(f"  - {job}\n" for job in jobs), "utf-8")


def draw(project: Project, name: str, colour: str, size: tuple[int, int] = (64, 36)) -> None:
    """Make a frame."""
    Image.new("RGB", size, colour).save(project.folder / name)


def test_an_edited_job_is_shown_as_a_diff(project: Project) -> None:
    """Words in their context, frames by name, hash and size, fields as they were and are; in JSON whole."""
    of = f"of {project.folder.name}"
    draw(project, "dawn.png", "red")
    draw(project, "dusk.png", "blue", (32, 18))
    write(
        project,
        f'{{id: kite, prompt: "A red kite, slow, {of}", size: 16x9, form: {{seed: 7}}, first_frame: dawn.png}}',
        f'{{id: same, prompt: "A gull {of}"}}',
    )
    project.batchvid("run", "m.yaml", "--only", "kite", "--only", "same")
    write(
        project,
        f'{{id: kite, prompt: "A blue kite, {of}", size: 9x16, form: {{seed: 8}}, first_frame: dusk.png}}',
        f'{{id: same, prompt: "A gull {of}"}}',
    )
    shown = project.batchvid("plan", "m.yaml").out
    told = shown[shown.index("What has changed since it was paid:") :].splitlines()
    assert told[1] == "  kite"
    assert told[2] == f"    prompt: A [-red-]{{+blue+}} kite[-, slow-], {of}"
    assert told[3] == "    size: 16x9 -> 9x16"
    assert told[4] == "    form.seed: 7 -> 8"
    assert told[5].startswith("    first_frame: dawn.png (")
    assert " -> dusk.png (" in told[5]
    assert ", 32x18, " in told[5]
    assert told[6] == ""
    rows = {row.get("id"): row for row in project.batchvid("plan", "m.yaml", "--json").told}
    assert "changes" not in rows["same"]
    by_field: dict[str, Any] = {one["field"]: one for one in rows["kite"]["changes"]}
    assert list(by_field) == ["prompt", "size", "form.seed", "first_frame"]
    assert by_field["prompt"]["old"] == f"A red kite, slow, {of}"
    assert by_field["first_frame"]["new"]["width"] == 32
    assert by_field["first_frame"]["old"]["file"].endswith("/dawn.png")


def test_where_no_sidecar_tells_it_that_is_said(project: Project) -> None:
    """It was deleted, or there is no clip yet."""
    project.manifest("kite", "unsure", attempts="1")
    assert project.batchvid("run", "m.yaml").code == 4
    (project.out / "job-1.json").unlink()
    path = project.folder / "m.yaml"
    path.write_text(path.read_text("utf-8").replace("kite 1", "gull 1").replace("unsure 2", "sure 2"), "utf-8")
    shown = project.batchvid("plan", "m.yaml").out
    assert shown.count("what was sent for it is not known here") == 2
    rows = {row.get("id"): row for row in project.batchvid("plan", "m.yaml", "--json").told}
    assert rows["job-1"]["changes"] is rows["job-2"]["changes"] is None


def test_an_edited_job_without_an_id_is_shown_beside_what_it_was(project: Project) -> None:
    """It has another id now, and its clip is kept."""
    write(project, f'{{prompt: "A paper kite over the sea, of {project.folder.name}"}}')
    project.batchvid("run", "m.yaml")
    write(project, f'{{prompt: "A paper kites over the sea, of {project.folder.name}"}}')
    shown = project.batchvid("plan", "m.yaml").out
    assert "    prompt: A paper [-kite-]{+kites+} over the sea" in shown


def test_several_manifests_are_added_up(project: Project) -> None:
    """Each under its name, and at last together, within the budgets; one that is wrong keeps all from being told."""
    project.manifest("kite", "gull", budget="0.40")
    project.manifest("wave", name="n.yaml")
    ran = project.batchvid("plan", "m.yaml", "n.yaml")
    assert ran.code == 0, ran
    assert ran.out.startswith("m.yaml:\n+ job-1")
    assert "\nn.yaml:\n+ job-1" in ran.out
    assert ran.out.splitlines()[-2:] == [
        "Together: 3 new.",
        "A run would submit 3 jobs for $1.20, at most $1.20 by what may be spent.",
    ]
    told = project.batchvid("plan", "m.yaml", "n.yaml", "--json").told
    assert {row.get("manifest") for row in told[:-1]} == {"m.yaml", "n.yaml"}
    assert told[-1] == {
        "type": "plan", "manifests": 2, "counts": told[-1]["counts"], "submits": 3, "price": 1.2, "price_at_most": 1.2,
        "unpriced": 0,
    }  # fmt: skip
    assert told[-1]["counts"]["new"] == 3
    (project.folder / "n.yaml").write_text("jobs: 3\n", "utf-8")
    wrong = project.batchvid("plan", "m.yaml", "n.yaml")
    assert (wrong.code, wrong.out) == (65, "")
