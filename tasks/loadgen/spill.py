"""Received bytes beyond the memory that they may take go to a file, written by a thread beside the event loop."""

import os
import tempfile
import threading
from pathlib import Path
from queue import SimpleQueue

BUDGET_BYTES = 256 * 1024 * 1024
"""Of all processes of a trial together."""


class Piece:
    """A run of received bytes: in memory until it is written, and for good where the disk refuses it."""

    __slots__ = ("data", "length", "offset")

    def __init__(self, data: bytes | bytearray, offset: int) -> None:
        self.data: bytes | bytearray | None = data
        self.offset = offset
        self.length = len(data)


class SpillFile:
    """The file has no name: it is gone when the process is, whatever ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: SimpleQueue[Piece | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._fd = -1
        self._end = 0
        self.error: str | None = None

    def put(self, data: bytes | bytearray) -> Piece:
        """Returns at once; the disk's pace never holds up the event loop."""
        if self._thread is None:
            self._open()
        piece = Piece(data, self._end)
        self._end += piece.length
        self._queue.put(piece)
        return piece

    def _open(self) -> None:
        with tempfile.TemporaryFile(dir=self._folder) as file:
            self._fd = os.dup(file.fileno())
        self._thread = threading.Thread(target=self._write_all, name="spill", daemon=True)
        self._thread.start()

    def _write_all(self) -> None:
        while (piece := self._queue.get()) is not None:
            try:
                self._write(piece)
            except OSError as error:
                self.error = str(error)

    def _write(self, piece: Piece) -> None:
        assert piece.data is not None
        view, at = memoryview(piece.data), piece.offset
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        view.release()
        piece.data = None

    def settle(self) -> None:
        """Waits until everything handed over is written."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def read(self, pieces: list[Piece]) -> bytes:
        """At any time: a piece lets go of its bytes only when they are on disk."""
        return b"".join(map(self._bytes_of, pieces))

    def _bytes_of(self, piece: Piece) -> bytes | bytearray:
        data = piece.data
        return os.pread(self._fd, piece.length, piece.offset) if data is None else data

    def close(self) -> None:
        """Gives the disk space back."""
        self.settle()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
