"""The commands of docs/release.md name what there is; only a release itself runs them."""

from __future__ import annotations

import re
import shlex
import tomllib

from airflow.cli.cli_parser import get_parser
from packaging.requirements import Requirement

from tests.docs.blocks import ROOT, blocks
from tests.docs.terminal import steps

BUILD, VERIFY = blocks("docs/release.md", "console")


def test_the_build_is_a_target_of_make() -> None:
    [(line, _)] = steps(BUILD)
    program, target = shlex.split(line)
    assert program == "make"
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_what_is_verified_is_this_package_with_the_airflow_that_is_tested() -> None:
    _, install, download, _, providers, check = [shlex.split(line) for line, _ in steps(VERIFY)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours, airflow = map(Requirement, install[-2:])
    assert ours.name == Requirement(download[-1]).name == project["name"]
    assert ours.extras <= set(project["optional-dependencies"])
    assert str(airflow) in (ROOT / "constraints" / "lock.in").read_text(encoding="utf-8").splitlines()
    assert get_parser().parse_args(providers[2:]).provider_name == project["name"]
    assert (ROOT / check[-1]).exists()
