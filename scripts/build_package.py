"""Build the sdist and the wheel into dist/, and prove that whoever builds this commit anew gets the same bytes.

Built twice, in two directories that differ in all that must not matter (path, file times, umask), and the wheel once
more from the sdist. Takes what git tracks, as it is in the work tree. Needs git, and the packages of the group
``package`` in the environment that runs it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def git(*arguments: str) -> str:
    """Return what git says.

    :raises subprocess.CalledProcessError: it failed.
    """
    return subprocess.run(["git", "-C", str(ROOT), *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def copy_tree(target: Path) -> None:
    """Copy every file that git tracks, with new times.

    :param target: a directory that is not there yet.
    """
    for name in git("ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def build(source: Path, *kinds: str) -> dict[str, bytes]:
    """Return the files that are built from a directory, by name.

    :param source: where pyproject.toml is.
    :param kinds: ``--sdist``, ``--wheel``.
    :raises subprocess.CalledProcessError: a build failed; its output is told.
    """
    epoch = git("log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", out, str(source)],
            env=os.environ | {"SOURCE_DATE_EPOCH": epoch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            print(done.stdout, file=sys.stderr)
        done.check_returncode()
        return {path.name: path.read_bytes() for path in Path(out).iterdir()}


def unpack(sdist: bytes, target: Path) -> Path:
    """Unpack an sdist and return the directory in it.

    :param sdist: the archive.
    :param target: a directory that is not there yet.
    """
    archive = target / "sdist.tar.gz"
    target.mkdir()
    archive.write_bytes(sdist)
    with tarfile.open(archive) as files:
        files.extractall(target, filter="data")
    archive.unlink()
    [directory] = target.iterdir()
    return directory


def main() -> int:
    """Build, compare, check and write; exit code 1 if a build cannot be repeated."""
    with tempfile.TemporaryDirectory() as directory:
        one, other = Path(directory, "a"), Path(directory, "another", "directory")
        copy_tree(one)
        built = build(one, "--sdist", "--wheel")
        umask = os.umask(0o077)
        copy_tree(other)
        again = build(other, "--sdist", "--wheel")
        [sdist] = (content for name, content in built.items() if name.endswith(".tar.gz"))
        again_from_sdist = build(unpack(sdist, Path(directory, "unpacked")), "--wheel")
        os.umask(umask)
    differ = [name for name in built if again.get(name) != built[name]]
    differ += [f"{name} from the sdist" for name, content in again_from_sdist.items() if built.get(name) != content]
    if differ or len(again_from_sdist) != 1:
        print(f"Not the same when built again: {', '.join(differ)}", file=sys.stderr)
        return 1

    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for name, content in built.items():
        (DIST / name).write_bytes(content)
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, DIST.iterdir())], check=True)
    for name, content in sorted(built.items()):
        times = 3 if name.endswith(".whl") else 2
        print(f"{hashlib.sha256(content).hexdigest()}  dist/{name}  (the same in each of {times} builds)")
    if changed := git("status", "--porcelain").strip():
        print(f"Not of a commit: these files are changed or new:\n{changed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
