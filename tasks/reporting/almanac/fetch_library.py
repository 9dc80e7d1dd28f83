"""`make lock-charts`: fetches what library.json names, and renews the files that the page inlines.

They are kept as they were published, so that a page can be written without a network and anyone can compare them.
"""

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parent / "library"


def main() -> None:
    """Rewrites library.json with the hashes of what was fetched; `git diff` shows what changed."""
    index = LIBRARY / "library.json"
    entries = [fetch(entry) for entry in json.loads(index.read_text(encoding="utf-8"))]
    index.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def fetch(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with the hashes of its package and file; the file and its licence are written."""
    with tempfile.TemporaryDirectory() as folder:
        package = f"{entry['package']}@{entry['version']}"
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        with tarfile.open(archive) as packed:
            content = _member(packed, entry["from"])
            (LIBRARY / entry["license_file"]).write_bytes(_member(packed, "LICENSE"))
    (LIBRARY / entry["file"]).write_bytes(content)
    return {**entry, "integrity": integrity, "sha256": hashlib.sha256(content).hexdigest()}


def _member(packed: tarfile.TarFile, name: str) -> bytes:
    found = packed.extractfile(f"package/{name}")
    assert found is not None, f"the package holds no {name}"
    return found.read()


if __name__ == "__main__":
    main()
