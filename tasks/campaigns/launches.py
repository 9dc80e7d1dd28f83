"""Which variants were launched on this boot: launches.jsonl in the store, one line a launch."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Launches:
    """The ledger of a store; `boot_id` is the kernel's name of this boot."""

    file: Path
    boot_id: str

    def had(self, variant_id: str, *, that_kept_caches: bool = False) -> bool:
        """Whether the variant was launched before on this boot, by any experiment of the store; with
        `that_kept_caches`, whether one of those launches left what its engine compiled."""
        found = [
            one for one in self._lines() if one.get("boot_id") == self.boot_id and one.get("variant") == variant_id
        ]
        return any(one.get("kept_caches") is True or not that_kept_caches for one in found)

    def add(self, variant_id: str, at: str, *, keeps_caches: bool = True) -> None:
        """One more; a line is written in one piece."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"boot_id": self.boot_id, "variant": variant_id, "at": at, "kept_caches": keeps_caches})
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _lines(self) -> list[dict[str, object]]:
        """What cannot be read is left out: a line that a kill cut short says nothing."""
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [found for line in lines if (found := _parsed(line))]


def _parsed(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
