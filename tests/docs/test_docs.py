"""The documentation is true: generated parts are current, everything is named, links lead somewhere, examples run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

from samplejoin.cli import COMMANDS, main
from samplejoin.commands.init import project_files
from samplejoin.job.compile import assume_topics, compile_job
from samplejoin.job.load import model_of
from samplejoin.job.schema import job_schema
from samplejoin.worker.metrics import COUNTERS, GAUGES, HISTOGRAMS
from samplejoin.worker.settings import WorkerSettings
from tests.docs.markdown import DOCS, PAGES, ROOT, Block, Page

README, TUTORIAL = Page(ROOT / "README.md"), Page(ROOT / "docs" / "tutorial.md")
COMMAND_LINE, METRICS = Page(ROOT / "docs" / "commands.md"), Page(ROOT / "docs" / "metrics.md")
JOB_FILE, ADRS = Page(ROOT / "docs" / "job-file.md"), ROOT / "docs" / "adr"

JOB: dict[str, Any] = yaml.safe_load(project_files("clickjoin")["job.yaml"])
STUBS = "def {name}(given):\n    return given\n"
AGGREGATE = """class {name}:
    def zero(self): return 0
    def add(self, partial, value): return partial
    def merge(self, a, b): return a
    def result(self, partial): return partial
"""


@pytest.fixture(autouse=True)
def _own_imports():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("functions", "gen_docs"):
            del sys.modules[name]


# ---- generated parts ----------------------------------------------------------------------------------------------


def gen_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_docs", ROOT / "scripts" / "gen_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current():
    for path, text in gen_docs().pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not current: run `make docs`"


def test_every_metric_has_its_line():
    known = {**COUNTERS, **GAUGES, **HISTOGRAMS}
    assert set(gen_docs().HINTS) == set(known), "HINTS of scripts/gen_docs.py and samplejoin/worker/metrics.py differ"
    for name, _, _ in known.values():
        assert f"| `{name}" in METRICS.text


def test_metrics_that_are_named_exist():
    known = {f"{name}_total" for name, _, _ in COUNTERS.values()}
    known |= {name for name, _, _ in [*GAUGES.values(), *HISTOGRAMS.values()]} | {"samplejoin_build_info"}
    for page in DOCS:
        named = set(re.findall(r"\bsamplejoin_[a-z_]+[a-z]", page.text))
        assert named <= known, f"{page} names metrics that do not exist: {named - known}"


# ---- everything is named ------------------------------------------------------------------------------------------


def test_every_command_is_documented():
    for name in COMMANDS:
        assert f"| `samplejoin {name}" in COMMAND_LINE.text, f"docs/commands.md does not list samplejoin {name}"


def test_every_job_key_is_documented():
    schema = job_schema()
    for part in (schema, *schema["$defs"].values()):
        for key in part.get("properties", ()):
            assert f"| `{key}` |" in JOB_FILE.text


def test_every_variable_of_a_worker_is_documented():
    for name in WorkerSettings.model_fields:
        assert f"| `SAMPLEJOIN_{name.upper()}` |" in COMMAND_LINE.text


def test_every_page_is_listed():
    listed = Page(ROOT / "docs" / "README.md").text
    for page in DOCS:
        if page.path.parent == ROOT / "docs" and page.path.name != "README.md":
            assert f"({page.path.name})" in listed
    index = Page(ADRS / "README.md").text
    for path in ADRS.glob("0*.md"):
        assert f"({path.name})" in index, f"docs/adr/README.md does not list {path.name}"


def test_decisions_have_the_parts_of_the_template():
    parts = re.findall(r"^## .+$", (ADRS / "template.md").read_text(), re.MULTILINE)
    for path in sorted(ADRS.glob("0*.md")):
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} ")
        assert re.search(r"^Status: (proposed|accepted|replaced by \d{4})$", text, re.MULTILINE), path
        assert re.findall(r"^## .+$", text, re.MULTILINE) == parts, path


# ---- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.path.parent / file).resolve() if file else page.path
        assert target.exists(), f"{page}: {link} leads nowhere"
        if anchor:
            assert anchor in Page(target).anchors(), f"{page}: {link}: no such heading"


def test_code_that_is_named_beside_a_file_is_in_it():
    """`[core/fold.py](...) (`windows_of`, `holder`)` names definitions of that file."""
    for page in DOCS:
        for link, names in re.findall(r"\]\(([^()\s]+\.py)\) \((`[^()]+`)\)", page.text):
            code = (page.path.parent / link).resolve().read_text()
            for name in re.findall(r"`(\w+)`", names):
                assert re.search(rf"\b(def|class) {name}\b", code), f"{page}: {link} has no {name}"


def test_the_layers_are_those_of_the_linter():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    shown = re.search(r"\n    (cli > [\w |>\n]+?)\n\n", Page(ROOT / "docs" / "architecture.md").text)
    assert shown is not None
    assert " ".join(shown[1].split()) == " > ".join(layers).replace("samplejoin.", "")


def test_the_picture_is_well_formed():
    from xml.etree import ElementTree

    ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg")


# ---- shell commands -----------------------------------------------------------------------------------------------


def commands(page: Page) -> list[list[str]]:
    """The commands of the page's shell blocks and code spans that start with `samplejoin`."""
    lines = [line for block in page.blocks("sh") for line in re.split(r"\n|&& ", block.text)]
    lines += re.findall(r"`(samplejoin [^`]+)`", page.prose)
    stripped = [re.sub(r"( #|[;&|(]).*", "", line.strip()) for line in lines]
    return [shlex.split(line) for line in stripped if line.startswith("samplejoin ")]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_and_their_options_exist(page):
    for _, name, *arguments in commands(page):
        command = main.get_command(click.Context(main), name)
        assert command is not None, f"{page}: there is no samplejoin {name}"
        options = {each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts)}
        for argument in arguments:
            if argument.startswith("-"):
                assert argument in options, f"{page}: samplejoin {name} has no {argument}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    spans = re.findall(r"`make ([a-z -]+)`", page.prose)
    lines = [
        match for block in page.blocks("sh") for match in re.findall(r"^make ([a-z -]+)", block.text, re.MULTILINE)
    ]
    for target in " ".join([*spans, *lines]).split():
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target} does not exist"


def test_the_readme_starts_with_demo_and_test():
    block = next(README.blocks("sh"))
    assert re.findall(r"^make (\w+)", block.text, re.MULTILINE) == ["demo", "test"]


def test_the_tutorial_runs_up_to_kafka(tmp_path):
    """Its commands before step 5, in a shell; what it shows of the project is what the project holds."""
    before, _, _ = TUTORIAL.text.partition("## 5.")
    steps = [block for block in TUTORIAL.blocks("sh") if block.text in before]
    script = "set -e\n" + "".join(block.text for block in steps)
    for name, module in (("samplejoin", "samplejoin.cli"), ("pytest", "pytest -p no:cacheprovider")):
        script = re.sub(rf"^{name}\b", f"{shlex.quote(sys.executable)} -m {module}", script, flags=re.MULTILINE)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SAMPLEJOIN_BROKERS": "127.0.0.1:1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = next(b for b in TUTORIAL.blocks("text") if b.text.startswith("record 1"))
    for line in shown.text.splitlines():
        assert line in done.stdout
    made = yaml.safe_load((tmp_path / "clickjoin" / "job.yaml").read_text())
    assert yaml.safe_load(next(TUTORIAL.blocks("yaml")).text) == made
    files = {path.name for path in (tmp_path / "clickjoin").iterdir() if path.is_file()}
    assert {"README.md", *re.findall(r"^\| `([\w.]+)` \|", before, re.MULTILINE)} == files


# ---- yaml and python ----------------------------------------------------------------------------------------------

YAML_BLOCKS = [block for page in PAGES for block in page.blocks("yaml")]


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=str)
def test_yaml_is_a_job_or_part_of_one(block, tmp_path):
    """A job, or some keys of one, laid over the project's own, compiles; functions are stubs. The rest is YAML."""
    data = yaml.safe_load(block.text)
    keys = set(job_schema()["properties"])
    if not isinstance(data, dict) or not set(data) <= keys:
        assert isinstance(data, dict)
        assert "apiVersion" in data, f"{block}: neither job nor Kubernetes"
        return
    job = {**JOB, **data} if "streams" not in data else data
    names = set(re.findall(r"functions:(\w+)", yaml.safe_dump(job)))
    stubs = (AGGREGATE if name[0].isupper() else STUBS for name in sorted(names))
    code = "\n".join(stub.format(name=name) for stub, name in zip(stubs, sorted(names), strict=True))
    (tmp_path / "functions.py").write_text(code)
    compile_job(assume_topics(model_of(job, tmp_path, environ={})), tmp_path)


def python_pages() -> list[Page]:
    return [page for page in PAGES if any(page.blocks("python"))]


@pytest.mark.parametrize("page", python_pages(), ids=str)
def test_python_runs(page, tmp_path):
    """Blocks that are files are written; tests among them are run; the others run one after the other."""
    if page == TUTORIAL:
        for name, text in project_files("clickjoin").items():
            (tmp_path / name).write_text(text)
    script: list[str] = []
    tests: list[str] = []
    for block in page.blocks("python", "yaml"):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text)
            tests += [block.file] if block.file.startswith("test_") else []
        elif block.language == "python":
            script.append("\n" * max(0, block.line - "".join(script).count("\n")) + block.text)  # lines of the page
    (tmp_path / "page.py").write_text("".join(script))
    run(["page.py"], tmp_path, page)
    for test in tests:
        run(["-m", "pytest", "-q", "-p", "no:cacheprovider", test], tmp_path, page)


def run(arguments: list[str], folder: Path, page: Page) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout}{done.stderr}"


# ---- tone ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [README, *DOCS], ids=str)
def test_lines_are_readable_in_a_terminal(page):
    """Prose is wrapped; tables may be wider."""
    long = [line for line in page.prose.splitlines() if len(line) > 140 and not line.startswith(("|", "**"))]
    assert not long, f"{page}: {long[0][:60]}..."


def test_blocks_say_their_language():
    assert [str(block) for page in PAGES for block in page.blocks("")] == []


def test_a_block_knows_its_file():
    page = Page(ROOT / "docs" / "functions.md")
    assert Block(page, 1, "python", "# functions.py\nx = 1\n").file == "functions.py"
    assert Block(page, 1, "python", "x = 1\n").file is None
