"""Files around the package: workflows, citation and changelog agree with pyproject.toml."""

import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import REPOSITORY

import metalearn

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (REPOSITORY / ".github/workflows").glob("*.yml")}
JOBS = WORKFLOWS["tests"]["jobs"]


def test_workflows_test_every_supported_python() -> None:
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert JOBS["pinned"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


@pytest.mark.parametrize("name", ["torch", "lightning"])
def test_the_oldest_versions_are_those_of_the_project(name: str) -> None:
    (bound,) = [
        re.match(rf"{name}>=([\d.]+)", line)[1] for line in PROJECT["dependencies"] if line.startswith(f"{name}>")
    ]
    oldest, newest = JOBS["range"]["strategy"]["matrix"]["include"]
    assert f"{name}=={bound}" in oldest["versions"] and name in newest["versions"].split()


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
def test_commands_of_workflows_exist(workflow: str) -> None:
    commands = [step["run"] for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert {name for command in commands for name in re.findall(r"make (\w+)", command)} <= targets
    assert {name for command in commands for name in extras(command)} <= PROJECT["optional-dependencies"].keys()
    assert all((REPOSITORY / path).exists() for path in re.findall(r"(?:scripts|tests)/\S+\.\w+", " ".join(commands)))


def test_the_wheel_has_every_package() -> None:
    folders = {path.parent.relative_to(REPOSITORY) for path in (REPOSITORY / "metalearn").rglob("__init__.py")}
    named = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {".".join(folder.parts) for folder in folders} == {name for name in named if name != "metalearn.conf"}


def test_each_list_of_experiments_is_reproduced_in_a_sweep_of_its_own() -> None:
    def folder(name: str) -> str:
        command = ["make", "-n", "reproduce", f"NAME={name}"]
        printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        return re.search(rf"-m experiment={name} hydra.sweep.dir=outputs/sweeps/reproduce/(\S+)", printed)[1]

    assert folder("a") == "a"
    assert folder("a,b") != folder("b,a")
    assert len(folder(",".join(map(str, range(999))))) < 20


def test_commands_of_pages_name_extras_that_exist() -> None:
    """Old versions of pip install nothing for a name with an underscore."""
    pages = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")]
    pages += [*REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("metalearn/**/*.py")]
    named = {name for page in pages for name in extras(page.read_text())}
    assert named <= PROJECT["optional-dependencies"].keys()
    assert {"bench", "dev", "docs", "wandb-report"} <= named
    assert [name for name in PROJECT["optional-dependencies"] if "_" in name] == []


def extras(text: str) -> set[str]:
    """Finds the extras in commands such as pip install -e '.[dev,docs]'."""
    found = re.findall(r"'\.\[([\w,-]+)\]'", text)
    return {name for names in found for name in names.split(",")}


def test_the_citation_has_the_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == metalearn.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.+)", text, re.MULTILINE)[0] == "Unreleased"
    assert {*re.findall(r"^### (.+)", text, re.MULTILINE)} <= {"Added", "Changed", "Fixed", "Numbers"}


def test_every_extra_is_pinned() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {normal(line.partition("==")[0]) for line in lines if not line.startswith("#")}
    wanted = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    names = {normal(re.match(r"[\w.-]+", line)[0]) for line in wanted} - {PROJECT["name"]}
    assert names <= pinned


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
