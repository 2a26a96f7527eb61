"""Check what the provider depends on: the locks, their bounds, the licences, and what is known against the versions.

    python scripts/audit.py --pip-audit .venv-package/bin/pip-audit [--strict]

Runs in the development environment, whose packages it looks at. Everything but the last part needs no network. An index
that knows no vulnerability at all (a mirror, or none that answers) is told from one that has nothing against our
versions: it is first asked about a version that has some.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from itertools import zip_longest
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTION = "airflow-provider-achieveit"
KNOWN_TO_BE_VULNERABLE = "jinja2==3.1.2"
"""Four advisories since 2024: who has none for it does not know."""
SERVICES = ("pypi", "osv")
IN_USE = ("py", "package")
"""How the names of the locks begin that people work with. The others hold the supported past, which is not mended."""

PLAIN = re.compile(r"[a-z0-9][a-z0-9.-]*==[0-9][A-Za-z0-9.!+]*")
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"),
    *("Unlicense", "Zlib"),
    # As classifiers name them.
    *("Apache Software License", "BSD License", "ISC License (ISCL)", "MIT License"),
    *("Mozilla Public License 2.0 (MPL 2.0)", "Python Software Foundation License", "The Unlicense (Unlicense)"),
    # As protobuf does.
    "3-Clause BSD License",
}
LOOKED_UP = {
    "openlineage-sql": "Apache-2.0 (its repository; its metadata tells none)",
    "text-unidecode": "the Artistic License, the one of its two that is taken here",
}


def locked(text: str) -> dict[str, str]:
    """Return the versions of a lock file, by name."""
    return dict(line.split("==", 1) for line in text.split() if PLAIN.fullmatch(line))


def unplain(text: str) -> list[str]:
    """Return the lines of a lock file that are no plain ``name==version``."""
    return [line for line in text.splitlines() if not PLAIN.fullmatch(line)]


def out_of_bounds(requirements: Sequence[str], versions: Mapping[str, str]) -> Iterator[str]:
    """Yield what a lock has not, or has at a version that our requirements do not allow.

    :param requirements: as in pyproject.toml.
    :param versions: of a lock.
    """
    for requirement in map(Requirement, requirements):
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{requirement.name} is not locked"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name}=={version} is not {requirement.specifier}"


def untested_bounds(requirements: Sequence[str], lowest: Mapping[str, str]) -> Iterator[str]:
    """Yield lower bounds at which nothing is tested.

    :param requirements: as in pyproject.toml.
    :param lowest: the versions of constraints/lowest.txt.
    """
    for requirement in map(Requirement, requirements):
        [bound] = requirement.specifier
        version = lowest.get(canonicalize_name(requirement.name))
        if version is None or Version(version) != Version(bound.version):
            yield f"{requirement} is tested with {version} at the least"


def runtime(installed: Mapping[str, Distribution], extras: frozenset[str]) -> dict[str, Distribution]:
    """Return what the provider needs at run time with these extras, as far as it is installed."""
    needed: dict[str, frozenset[str]] = {}
    todo = [(DISTRIBUTION, extras)]
    while todo:
        name, wanted = todo.pop()
        if name not in installed or (name in needed and wanted <= needed[name]):
            continue
        needed[name] = needed.get(name, frozenset()) | wanted
        for line in installed[name].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in {"", *needed[name]}
            ):
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name: installed[name] for name in needed if name != DISTRIBUTION}


def licence(distribution: Distribution) -> str:
    """Return the licence that a package tells, in the words it uses: alternatives stand with OR between them."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    told = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    return " AND ".join(told) or (str(metadata["License"]).strip() if "License" in metadata else "")


def is_allowed(told: str) -> bool:
    """Tell whether a licence, or one of its alternatives, is on the list with all its parts."""
    if " OR " in told and "(" in told:
        # Groups are not taken apart: then every part must be on the list.
        alternatives = [re.sub("[()]", "", told).replace(" OR ", " AND ")]
    else:
        alternatives = told.split(" OR ")
    return any(all(part in ALLOWED for part in alternative.split(" AND ")) for alternative in alternatives)


def known_vulnerabilities(answer: str) -> tuple[list[str], list[str]]:
    """Return what is known against which version, and what could not be asked.

    :param answer: pip-audit's, as JSON.
    """
    known, skipped = [], []
    for package in json.loads(answer)["dependencies"]:
        if "skip_reason" in package:
            skipped.append(package["name"])
        for found in package.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            known.append(f"{package['name']}=={package['version']}: {found['id']}, mended in {fixed}")
    return sorted(set(known)), sorted(set(skipped))


def ask(pip_audit: Path, service: str, requirements: str) -> tuple[list[str], list[str]] | None:
    """Ask a service about versions; None: it did not answer.

    :param pip_audit: the program.
    :param service: one of :data:`SERVICES`.
    :param requirements: lines ``name==version``, no name twice.
    """
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10"]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "requirements.txt")
        file.write_text(requirements, encoding="ascii")
        command: list[str | Path] = [pip_audit, "--vulnerability-service", service, *options, "--requirement", file]
        done = subprocess.run(command, capture_output=True, text=True)
    # It ends with 1 where it found something, and where it failed.
    return known_vulnerabilities(done.stdout) if done.stdout.startswith("{") else None


def without_doubles(locks: Iterable[str]) -> list[str]:
    """Return the versions of all lock files as few texts, each version in one of them and no name twice in any.

    :param locks: texts of lock files.
    """
    versions: dict[str, list[str]] = defaultdict(list)
    for name, version in sorted({item for text in locks for item in locked(text).items()}):
        versions[name].append(f"{name}=={version}\n")
    return ["".join(filter(None, lines)) for lines in zip_longest(*versions.values())]


def lock_problems(locks: Mapping[str, str], project: Mapping[str, dict[str, list[str]]]) -> Iterator[str]:
    """Yield what is wrong with the locks by themselves.

    :param locks: text of each file of constraints/, by its name without ``.txt``.
    :param project: the table ``project`` of pyproject.toml.
    """
    requirements = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    for name, text in locks.items():
        yield from (f"constraints/{name}.txt: {line!r} is no plain name==version" for line in unplain(text))
        if name.startswith(("py", "airflow-", "lowest")):
            yield from (f"constraints/{name}.txt: {problem}" for problem in out_of_bounds(requirements, locked(text)))
    yield from (f"pyproject.toml: {problem}" for problem in untested_bounds(requirements, locked(locks["lowest"])))


def installed_problems(lock: Mapping[str, str], extras: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with what is installed: other versions than locked, what does not fit, and licences.

    :param lock: versions of this Python's lock file.
    :param extras: all of ours.
    """
    installed: dict[str, Distribution] = {canonicalize_name(found.name): found for found in distributions()}
    needed = runtime(installed, extras)
    print(f"{len(needed)} packages are needed at run time, with all extras")
    for name, found in sorted(needed.items()):
        if lock.get(name) != found.version:
            yield f"{name}=={found.version} is installed, {lock.get(name)} is locked"
        if name not in LOOKED_UP and not is_allowed(licence(found)):
            yield f"{name}: its licence is not on the list of allowed ones: {licence(found) or 'it tells none'}"
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    if checked.returncode:
        yield from checked.stdout.splitlines()


def advisories(pip_audit: Path, locks: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return what is known against the locked versions, and what could not be asked; both with words for people.

    :param pip_audit: the program.
    :param locks: texts of lock files.
    """
    for service in SERVICES:
        control = ask(pip_audit, service, f"{KNOWN_TO_BE_VULNERABLE}\n")
        if control is None or not control[0]:
            print(f"{service}: no answer, or it does not know what is known against {KNOWN_TO_BE_VULNERABLE}")
            continue
        known: list[str] = []
        unasked: list[str] = []
        for requirements in without_doubles(locks):
            answer = ask(pip_audit, service, requirements)
            if answer is None:
                return known, [*unasked, f"NOT ASKED: {service} stopped answering; run it again"]
            known += answer[0]
            unasked += (f"NOT ASKED: {service} does not know the package {name}" for name in answer[1])
        print(f"{service}: asked about every locked version")
        return known, unasked
    return [], ["NOT ASKED: no service here tells known vulnerabilities, so nothing is proved about them"]


def told_only(known: Iterable[str], locks: Mapping[str, str]) -> list[str]:
    """Return what is known against versions that are locked for tests only: old ones, for those who still have them.

    :param known: what is known, as :func:`known_vulnerabilities` words it.
    :param locks: text of each file of constraints/, by its name without ``.txt``.
    """
    used = {item for name, text in locks.items() if name.startswith(IN_USE) for item in text.split()}
    return [line for line in known if line.partition(": ")[0] not in used]


def main() -> int:
    """Print what is wrong; exit code 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip-audit", type=Path, required=True, help="the program pip-audit")
    parser.add_argument("--strict", action="store_true", help="fail where vulnerabilities could not be asked about")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locks = {file.stem: file.read_text(encoding="utf-8") for file in sorted((ROOT / "constraints").glob("*.txt"))}
    own = locked(locks[f"py{sys.version_info.major}.{sys.version_info.minor}"])
    wrong = [*lock_problems(locks, project), *installed_problems(own, frozenset(project["optional-dependencies"]))]
    known, unasked = advisories(options.pip_audit, locks.values())
    old = told_only(known, locks)
    grave = [line for line in known if line not in old]
    for line in [*wrong, *grave, *(f"{line} (an old version, locked for tests only)" for line in old), *unasked]:
        print(f"  {line}")
    failed = wrong or grave or (unasked and options.strict)
    print("The audit found something." if failed else "Nothing was found in what is used and could be asked.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
