"""Starts writers and readers in processes of their own; the other end of ``fork_server.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


class Server:
    """One ``fork_server.py``; it runs one command at a time. Close it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def start(self, *command: object) -> int:
        """Starts a child; returns its pid."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([*map(str, command[:2]), *command[2:]]) + "\n")
        return int(self.line("pid"))

    def line(self, word: str) -> str:
        """What the next line says after ``word``."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line.startswith(word), line
        return line[len(word) :].strip()

    def until_end(self) -> list[str]:
        """All lines until the child has ended."""
        assert self._process.stdout
        lines = []
        for line in self._process.stdout:
            if line.startswith("end"):
                return lines
            lines.append(line.strip())
        raise AssertionError("the fork server died")

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
