"""What a project needs beside its code: `make furniture` checks that each is there and true.

Every check raises AssertionError with what is wrong; `python -m tests.furniture` runs them all.
"""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jinja2
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(name):
    path = ROOT / name
    assert path.is_file(), f"{name} is missing"
    return path.read_text(encoding="utf-8")


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "gtx_bayes", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout


def targets():
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", text("Makefile"), flags=re.MULTILINE))


def said_targets(page):
    """The targets that a page tells its reader to make."""
    found = re.findall(r"(?:^|`|run: )\s*make ([a-z -]+)", page, flags=re.MULTILINE)
    return {name for line in found for name in line.split()}


def version():
    """One version everywhere, and a changelog that knows it or what comes next."""
    import gtx_bayes

    assert gtx_bayes.__version__ == PROJECT["version"]
    assert run("--version") == f"gtx-bayes {PROJECT['version']}\n"
    assert re.search(r"^## ", text("CHANGELOG.md"), flags=re.MULTILINE)


def program():
    """Both ways to start the program know every command and install completion."""
    from gtx_bayes.cli.commands import app

    usage = run("--help")
    commands = [found.name or found.callback.__name__ for found in app.registered_commands]
    for word in (*commands, "--install-completion", "--version"):
        assert re.search(rf"^ +{word}\b", usage, flags=re.MULTILINE), f"no {word} in the usage"
    assert PROJECT["scripts"] == {"gtx-bayes": "gtx_bayes.cli.app:main"}


def metadata():
    """Nobody is invented: the authors are the package's own, and no address is made up."""
    assert PROJECT["authors"] == [{"name": "The gtx_bayes maintainers"}]
    addresses = list(PROJECT.get("urls", {}).values())
    assert not [url for url in addresses if "example" in url or "OWNER" in url]
    assert len(PROJECT["description"]) < 120
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text("LICENSE")


def citation():
    """CITATION.cff names the package under its own name and the paper with its authors."""
    cff = yaml.safe_load(text("CITATION.cff"))
    assert cff["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cff.keys()
    assert cff["title"] == PROJECT["name"]
    assert str(cff["version"]) == PROJECT["version"]
    assert cff["license"] == PROJECT["license"]
    assert cff["authors"] == PROJECT["authors"]
    paper = cff["preferred-citation"]
    prose = " ".join(text("README.md").replace(">", " ").split())
    assert paper["title"] in prose
    for author in paper["authors"]:
        assert f"{author['given-names']} {author['family-names']}" in prose


def pages():
    """Pages for contributors name only targets and files that exist, and reach each other."""
    for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "README.md"):
        page = text(name)
        assert said_targets(page) <= targets(), f"{name}: {said_targets(page) - targets()}"
        for word in re.findall(r"`((?:docs|gtx_bayes|tests)/[\w/.]+|[A-Z_]+\.(?:md|cff))`", page):
            assert (ROOT / word).exists(), f"{name} speaks of {word}"
    assert "make test-quick" in text("CONTRIBUTING.md")
    assert {"SECURITY.md", "CODE_OF_CONDUCT.md"} <= set(
        re.findall(r"`([A-Z_]+\.md)`", text("CONTRIBUTING.md"))
    )
    assert "CONTRIBUTING.md" in text("README.md")


def first_change():
    """The metric that CONTRIBUTING.md adds works as it stands there, and so does its test."""
    import jax.numpy as jnp
    import pytest

    from gtx_bayes import metrics

    function, test = re.findall(r"```python\n(.*?)```", text("CONTRIBUTING.md"), flags=re.DOTALL)
    module = {**vars(metrics)}
    exec(compile(function, "CONTRIBUTING.md", "exec"), module)
    names = {"jnp": jnp, "pytest": pytest, "metrics": type("metrics", (), module)}
    exec(compile(test, "CONTRIBUTING.md", "exec"), names)
    names["test_top_two_accuracy_by_hand"]()


def sidebar():
    """Five groups, every page in one of them, and every page says what comes next."""
    spec = importlib.util.spec_from_file_location("next", ROOT / "docs" / "_ext" / "next_steps.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    trees = re.findall(r"```\{toctree\}\n(.*?)```", text("docs/index.md"), flags=re.DOTALL)
    assert len(trees) == 5
    listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    assert len(listed) == len(set(listed))
    silent = [page for page in listed if page not in script.NEXT]
    assert not silent, f"say in docs/_ext/next_steps.py what comes after {silent}"
    for target, words in {step for steps in script.NEXT.values() for step in steps}:
        name = f"docs/{target}".replace("docs/notebooks/", "notebooks/")
        assert (ROOT / name).is_file(), f"{target} is missing"
        assert words
    assert script.colab("notebooks/01_quickstart", "") == script.colab("install", "us/it") == ""
    assert "/github/us/it/blob/main/notebooks/01_" in script.colab("notebooks/01_x", "us/it")


def templates():
    """Forms for issues are complete, and so is the text of a pull request."""
    for name in ("bug", "idea"):
        form = yaml.safe_load(text(f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert {"name", "description", "body"} <= form.keys()
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids))
        assert any(part.get("validations", {}).get("required") for part in form["body"])
    assert yaml.safe_load(text(".github/ISSUE_TEMPLATE/config.yml"))["blank_issues_enabled"]
    assert said_targets(text(".github/pull_request_template.md")) <= targets()


def workflows():
    """Tests, slow ones by the week, docs, release by tag: targets that exist, few rights."""
    triggers = {
        "test": "pull_request",
        "slow": "schedule",
        "docs": "pull_request",
        "release": "push",
    }
    for name, trigger in triggers.items():
        flow = yaml.safe_load(text(f".github/workflows/{name}.yml"))
        assert trigger in flow[True], f"{name} starts on no {trigger}"  # YAML reads `on` as true
        assert flow["permissions"] == {"contents": "read"}
        assert said_targets(text(f".github/workflows/{name}.yml")) <= targets()
        for job in flow["jobs"].values():
            assert set(job.get("needs", "").split()) <= flow["jobs"].keys()
            for step in job["steps"]:
                assert ("run" in step) != ("uses" in step)
                assert "@" in step.get("uses", "@")
    assert yaml.safe_load(text(".github/workflows/release.yml"))[True]["push"]["tags"] == ["v*"]
    versions = yaml.safe_load(text(".github/workflows/test.yml"))["jobs"]["test"]["strategy"]
    tested = {f"Programming Language :: Python :: {v}" for v in versions["matrix"]["python"]}
    assert tested == {c for c in PROJECT["classifiers"] if c[-4:-2] == "3."}


def recipe():
    """The conda recipe renders, and needs what pyproject.toml needs."""
    given = {"load_file_data": lambda *_, **__: {"project": PROJECT}, "PYTHON": "python"}
    rendered = yaml.safe_load(jinja2.Template(text("conda/meta.yaml")).render(given))
    assert rendered["package"] == {"name": "gtx-bayes", "version": PROJECT["version"]}
    assert rendered["build"]["entry_points"] == ["gtx-bayes = gtx_bayes.cli.app:main"]
    needed = {}
    for wanted in PROJECT["dependencies"]:
        name, least = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", wanted).groups()
        needed[{"matplotlib": "matplotlib-base"}.get(name, name)] = f">={least}"
    runs = dict(part.partition(" ")[::2] for part in rendered["requirements"]["run"])
    assert runs == {"python": PROJECT["requires-python"], "h5py": "", **needed}


def logo():
    """The logo is what its script draws."""
    spec = importlib.util.spec_from_file_location("logo", ROOT / "docs" / "_ext" / "logo.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert text("docs/images/logo.svg") == script.svg(), "draw it anew: docs/_ext/logo.py"


CHECKS = (
    version,
    program,
    metadata,
    citation,
    pages,
    first_change,
    sidebar,
    templates,
    workflows,
    recipe,
    logo,
)


def main():
    wrong = 0
    for check in CHECKS:
        try:
            check()
        except Exception as error:
            wrong += 1
            print(f"WRONG  {check.__name__}: {type(error).__name__}: {error}")
        else:
            print(f"right  {check.__name__}: {check.__doc__.splitlines()[0]}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
