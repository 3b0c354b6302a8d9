"""Zip archives whose members are deflated or, as inspect_ai writes them, zstd (which zipfile does not know).

Why not zipfile-zstd: its last release (0.0.4) is of 2021, it replaces private functions of the standard library's
zipfile for the whole process, and pyarrow, which reads parquet logs, unpacks zstd in the twelve lines of
`Archive._zstandard`. Python 3.14's zipfile knows zstd: they go when no older Python is left.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import IO, Any

from advshape.evaluation.readers.base import Context
from advshape.evaluation.readers.parquet import arrow

__all__ = ["Archive"]

ZSTANDARD = 93
LARGEST = 2**30


class Archive:
    """A zip that is open for reading; of members with the same name the last counts, as for every zip reader."""

    def __init__(self, context: Context) -> None:
        self._context = context
        try:
            self._zip = zipfile.ZipFile(context.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            context.fail(f"no whole zip archive ({error}); is it still being written?")
        self._members = {info.filename: info for info in self._zip.infolist()}
        self.names = tuple(self._members)
        again = len(self._zip.infolist()) - len(self.names)
        if again:
            context.skip("member that the log holds in a later version", "", again)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def open(self, name: str) -> IO[bytes]:
        """A member's bytes, unpacked and checked."""
        info = self._members[name]
        if info.file_size > LARGEST:
            self._context.fail(f"{info.file_size} bytes; a sample may have {LARGEST}", name)
        try:
            if info.compress_type != ZSTANDARD:
                return io.BytesIO(self._zip.read(info))
            data = self._zstandard(info)
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
            struct.error,
        ) as error:
            self._context.fail(f"cannot be unpacked ({error})", name)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            self._context.fail("damaged: its checksum differs", name)
        return io.BytesIO(data)

    def _zstandard(self, info: zipfile.ZipInfo) -> bytes:
        file: Any = self._zip.fp
        file.seek(info.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("no local header")
        name, extra = struct.unpack("<HH", header[26:30])
        file.seek(name + extra, io.SEEK_CUR)
        packed = file.read(info.compress_size)
        pyarrow = arrow()
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd") as stream:
            return bytes(stream.read(info.file_size + 1))
