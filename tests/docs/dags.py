"""The DAGs of a page, as files of their own that Airflow loads."""

from __future__ import annotations

import ast
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from tests.airflow_versions import for_this_airflow
from tests.dag_runs import place
from tests.examples.test_examples import load


def dag_file(source: str, directory: Path, name: str = "a_dag_of_the_page") -> Path:
    """Write a block into a file, for the installed Airflow. A DAG without a name gets one, for ``dags_of`` to find."""
    tree = ast.parse(for_this_airflow(source))
    for number, statement in enumerate(node for node in tree.body if isinstance(node, ast.With)):
        for item in statement.items:
            item.optional_vars = item.optional_vars or ast.Name(f"dag_{number}", ast.Store())
    path = directory / f"{name}.py"
    path.write_text(ast.unparse(tree), encoding="utf-8")
    return path


def dags_of(path: Path) -> list[DAG]:
    """Load a file and return its DAGs, in its order."""
    found = [value for value in vars(load(path)).values() if isinstance(value, DAG)]
    for dag in found:
        place(dag, path)
    return found


def dag_of(source: str, directory: Path) -> DAG:
    """Write the block of one DAG into a file, and load it."""
    [dag] = dags_of(dag_file(source, directory))
    return dag
