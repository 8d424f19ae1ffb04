"""The command line for tests of many commands: each is run by a fork of one process, which has the imports behind it.

`python -m tests.helpers.cli_fork_server FOLDER` puts a program `circuitlang` into a folder and serves it until
standard input ends. The program is a small one: it hands over its arguments, surroundings and streams, and waits for
the exit code.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

ADDRESS = "socket"
PROGRAM = """\
#!{python} -ISE
import json, os, socket, sys
message = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
# A socket's address may not be as long as a path.
os.chdir({folder!r})
with socket.socket(socket.AF_UNIX) as served:
    served.connect({address!r})
    socket.send_fds(served, [len(message).to_bytes(4, "big")], [0, 1, 2])
    served.sendall(message)
    sys.exit(served.recv(1)[0])
"""


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)
    program = folder / "circuitlang"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(ADDRESS)
        listening.listen()
        content = PROGRAM.format(python=sys.executable, folder=str(folder), address=ADDRESS)
        program.write_text(content, encoding="utf-8")
        program.chmod(0o755)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                _serve(connection)


def _serve(connection: socket.socket) -> None:
    """Run a command in a fork, and import what it imported, so that the next need not."""
    begin, streams, _, _ = socket.recv_fds(connection, 4, 3)
    message = b""
    while len(message) < int.from_bytes(begin, "big"):
        message += connection.recv(65536)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        # Those of Python know whether what they were opened on can be sought in.
        sys.stdin, sys.stdout, sys.stderr = (open(each, mode, closefd=False) for each, mode in enumerate("rww"))  # noqa: SIM115
        known = set(sys.modules)
        code = _run(*json.loads(message))
        os.write(theirs, json.dumps([name for name in sys.modules if name not in known]).encode())
        os._exit(code)
    os.close(theirs)
    for stream in streams:
        os.close(stream)
    with os.fdopen(ours, "rb") as pipe:
        imported = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(bytes([code % 256]))
    for name in json.loads(imported or "[]"):
        with suppress(Exception):
            import_module(name)


def _run(arguments: list[str], folder: str, surroundings: dict[str, str]) -> int:
    """The exit code of the command line."""
    from circuitlang.cli.main import main

    os.environ.clear()
    os.environ.update(surroundings)
    os.chdir(folder)
    sys.argv = arguments
    try:
        main(prog_name="circuitlang")
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        # Whoever read it may have seen enough.
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
