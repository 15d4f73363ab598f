"""Nothing that reads a file may run what is in it."""

import ast
from pathlib import Path

import pytest

import km3d_ros

MODULES = sorted(Path(km3d_ros.__file__).parent.rglob("*.py"))
RUNNING = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
CALLED = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "np.load"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def offences(tree):
    """Calls that would run what they are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            if (
                name in CALLED
                or (name == "torch.load" and options.get("weights_only") != "True")
                or options.get("shell") == "True"
                or options.get("allow_pickle") == "True"
            ):
                yield f"{name} in line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_runs_nothing_that_it_reads(path):
    tree = ast.parse(path.read_text())
    assert RUNNING.isdisjoint(imported(tree))
    assert list(offences(tree)) == []


def test_offences_are_found():
    source = "torch.load(f); eval(x); subprocess.run(c, shell=True); np.load(f, allow_pickle=True)"
    assert len(list(offences(ast.parse(source)))) == 4
    assert RUNNING & set(imported(ast.parse("from pickle import loads")))
