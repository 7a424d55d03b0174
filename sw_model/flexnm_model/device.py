"""The engine in a real system: registers in memory, streams as files. A back end of ``driver``.

The registers lie in a page that a file maps: /dev/uio0, or /dev/mem with the engine's base address. A stream is a file
in which one write, or one read, is one packet, as the character devices of DMA drivers for PCIe cards and for
SoCs offer them.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from flexnm_rtl.config import ConfigError
from flexnm_rtl.registers import ADDRESS_BITS

from flexnm_model.driver import DeviceError
from flexnm_model.packing import Bytes


class MappedDevice:
    """Registers at byte ``base`` of the file ``registers``; ``acts`` and ``weights`` are written, ``results`` read.

    The packets' ends have to become TLAST, which is what DMA engines do. Words are little endian. Raises ConfigError
    when a file cannot be opened or mapped.
    """

    def __init__(self, registers: Path, acts: Path, weights: Path, results: Path, *, base: int = 0) -> None:
        self.acts, self.weights, self.results = acts, weights, results
        page = base // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        self._base = base - page
        try:
            with registers.open("r+b", buffering=0) as file:
                self._map = mmap.mmap(file.fileno(), self._base + (1 << ADDRESS_BITS), offset=page)
        except (OSError, ValueError) as error:
            raise ConfigError(f"registers {registers} cannot be mapped at {base:#x} ({error})") from None
        # A cast view makes every access one aligned 32-bit access, which device memory needs.
        self._words = memoryview(self._map)[self._base :].cast("I")

    def close(self) -> None:
        """Unmap the registers."""
        self._words.release()
        self._map.close()

    def read(self, offset: int) -> int:
        """The word of a register."""
        return self._words[offset // 4]

    def write(self, offset: int, value: int) -> None:
        """Write a register."""
        self._words[offset // 4] = value & 0xFFFFFFFF

    def transfer(self, acts: Bytes, weights: Bytes, result_bytes: int) -> Bytes:
        """Both packets out and the result packet in, at the same time. Raises DeviceError when a file gives up."""
        try:
            with ThreadPoolExecutor(3) as pool:
                sent = [pool.submit(_send, self.acts, acts), pool.submit(_send, self.weights, weights)]
                received = pool.submit(_receive, self.results, result_bytes)
                for future in sent:
                    future.result()
                return received.result()
        except OSError as error:
            raise DeviceError(f"stream {error.filename or ''} failed: {error.strerror}") from None


def _send(path: Path, data: Bytes) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        written = os.write(handle, data.tobytes())
    finally:
        os.close(handle)
    if written != len(data):
        raise DeviceError(f"stream {path} took {written} of {len(data)} bytes in one packet")


def _receive(path: Path, count: int) -> Bytes:
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, count)
    finally:
        os.close(handle)
    return np.frombuffer(data, dtype=np.uint8)
