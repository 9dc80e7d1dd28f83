"""An image made of this machine's own Python and the fake engine, for podman in a store of its own."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
IMAGE = "localhost/dyno-stand-in:1"
LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|ensurepip|tkinter|lib2to3|turtledemo|site-packages|dist-packages|config-3[^/]*|__pycache__)/?$"
    r"|_tkinter|_curses|_dbm|_gdbm|\.a$"
)
METADATA = "Metadata-Version: 2.1\nName: stand-in-engine\nVersion: 1.2.0\n"


def write_rootfs(path: Path) -> None:
    """python3 with its library and the libraries that it loads, /fake_engine.py, and one package by name only."""
    executable, library = Path(os.path.realpath(sys.executable)), Path(sysconfig.get_path("stdlib"))
    modules = [p for p in (library / "lib-dynload").glob("*.so") if not LEFT_OUT.search(str(p))]
    listed = subprocess.run(["ldd", executable, *modules], capture_output=True, text=True, check=True).stdout
    with tarfile.open(path, "w", dereference=True) as tar:
        tar.add(executable, str(executable))
        tar.add(library, str(library), filter=lambda item: None if LEFT_OUT.search(f"/{item.name}") else item)
        for name in sorted(set(re.findall(r"(?:=>|^\t)\s*(/\S+\.so\S*)", listed, re.MULTILINE))):
            tar.add(os.path.realpath(name), name)
        tar.add(ROOT / "tests" / "fake_engine.py", "/fake_engine.py")
        _add_text(tar, f"{library}/site-packages/stand_in_engine-1.2.0.dist-info/METADATA", METADATA)
        link = tarfile.TarInfo("/usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(executable)
        tar.addfile(link)
        for folder in ("/tmp", "/proc", "/sys", "/dev"):
            item = tarfile.TarInfo(folder)
            item.type, item.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(item)


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    item = tarfile.TarInfo(name)
    item.size, item.mode = len(text.encode()), 0o644
    tar.addfile(item, io.BytesIO(text.encode()))


def podman(*words: str, check: bool = True) -> str:
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=check).stdout


def why_not() -> str:
    """ "" where podman runs containers here."""
    if shutil.which("podman") is None:
        return "podman is not installed"
    done = subprocess.run(["podman", "info"], capture_output=True, text=True)
    return f"podman does not work here: {done.stderr.strip()[-200:]}" if done.returncode else ""


def why_none_runs() -> str:
    """ "" where a plain container, without any option of dyno's, runs here."""
    limits = [word for name in ("nofile", "nproc") for word in ("--ulimit", f"{name}=1024:1024")]
    command = [
        "podman",
        "run",
        "--rm",
        "--network",
        "host",
        *limits,
        "--entrypoint",
        "python3",
        IMAGE,
        "-c",
        "print(1)",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    return f"podman starts no container here: {done.stderr.strip()[-300:]}" if done.returncode else ""


@contextlib.contextmanager
def podman_store() -> Iterator[None]:
    """Podman keeps its images and containers in a folder that goes with the block: the machine's own stay alone. Short,
    for there are sockets in it; vfs, which needs no overlay in the kernel."""
    folder = Path(tempfile.mkdtemp(prefix="dyno-p"))
    configuration = folder / "storage.conf"
    configuration.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/g"\nrunroot = "{folder}/r"\n')
    before = os.environ.get("CONTAINERS_STORAGE_CONF")
    os.environ["CONTAINERS_STORAGE_CONF"] = str(configuration)
    try:
        write_rootfs(folder / "rootfs.tar")
        podman("import", str(folder / "rootfs.tar"), IMAGE)
        (folder / "rootfs.tar").unlink()
        yield
    finally:
        podman("rm", "--all", "--force", check=False)
        if before is None:
            del os.environ["CONTAINERS_STORAGE_CONF"]
        else:
            os.environ["CONTAINERS_STORAGE_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)
