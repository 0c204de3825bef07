"""The command `vestibule`.

Owns the commands' arguments, their words and their exit statuses: 0 done, 1 it failed, 2 the
command line or the configuration is wrong. Rules: answers go to standard output, everything about
failure to standard error in one line per cause, never a traceback for what an operator can cause.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from proxy import __version__

__all__ = ["main", "version_text"]

_OK, _FAILED, _WRONG, _INTERRUPTED = 0, 1, 2, 130

_DEFAULT_SOCKET = Path("/run/vestibule/admin.sock")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED  # before anybody listened for it
    except BrokenPipeError:
        # The reader (head, less) has seen enough; the interpreter's own flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return status


def version_text() -> str:
    """Which form of the hot path is installed is the first question about its speed."""
    hot = importlib.util.find_spec("proxy.wire")
    is_source = hot is None or str(hot.origin).endswith(".py")
    return f"vestibule {__version__}" + ("" if is_source else " (compiled)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vestibule",
        description="A TLS-terminating reverse proxy for when handshakes are what hurts.",
        epilog="Exit status: 0 done, 1 it failed, 2 wrong command line or configuration.",
    )
    parser.add_argument("--version", action="version", version=version_text())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _command(commands, "run", _run, "serve what a configuration file says")
    _config_argument(run, required=True)
    run.epilog = (
        "SIGTERM or SIGINT drains and ends (again: at once), SIGHUP reloads the file, "
        "SIGUSR1 opens log files again."
    )

    check = _command(commands, "check", _check, "check a configuration file; start nothing")
    _config_argument(check, required=True)

    _command(commands, "schema", _schema, "print the configuration's JSON Schema")

    status = _command(commands, "status", _status, "show a running proxy's processes")
    _socket_arguments(status)
    status.add_argument("--json", action="store_true", help="print the whole answer as JSON")

    reload = _command(commands, "reload", _reload, "have a running proxy read its file again")
    _socket_arguments(reload)

    _demo_arguments(_command(commands, "demo", _demo, "run a proxy, a backend and a CA to try"))
    _bench_arguments(
        _command(commands, "bench", _bench, "measure what handshakes cost here, beside nginx")
    )
    return parser


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        default="127.0.0.1:8443",
        help="where to listen; port 0 chooses a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="where to write ca.pem and the rest, and leave it (default: a temporary directory)",
    )


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        default=3,
        help="how often each burst is repeated; 3 take less than a minute (default: %(default)s)",
    )
    parser.add_argument(
        "--no-nginx", action="store_true", help="measure Vestibule alone even where nginx is there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    parser.epilog = (
        "It starts throw-away servers on loopback ports, floods them with hellos and removes them. "
        "Memory is counted in processes only; the kernel's sockets cost about the same for all."
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, not {text!r}")
    return int(text)


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], words: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    parser.set_defaults(command=function)
    return parser


def _config_argument(parser: Any, *, required: bool) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", required=required, help="configuration file"
    )


def _socket_arguments(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group()
    _config_argument(either, required=False)
    either.add_argument(
        "--socket",
        type=Path,
        metavar="PATH",
        help=f"the proxy's admin socket (default: {_DEFAULT_SOCKET})",
    )


def _run(options: argparse.Namespace) -> int:
    from proxy.app import LoadFailed, OperatorError, run

    try:
        return run(options.config)
    except LoadFailed as error:
        return _complain(str(error), _WRONG)
    except OperatorError as error:
        return _complain(str(error), _FAILED)


def _check(options: argparse.Namespace) -> int:
    from proxy.config import check

    report = check(options.config)
    for line in report.summary:
        print(line)
    for remark in (*report.problems, *report.cautions):
        kind = "error" if remark in report.problems else "warning"
        print(f"{kind}: {remark}", file=sys.stderr)
    if report.ok:
        print(f"{options.config}: ok")
    return _OK if report.ok else _WRONG


def _schema(_: argparse.Namespace) -> int:
    from proxy.config import schema

    print(schema())
    return _OK


def _status(options: argparse.Namespace) -> int:
    from proxy.app import render

    def show(answer: dict[str, Any]) -> None:
        status = answer["status"]
        text = json.dumps(status, indent=2) + "\n" if options.json else render(status)
        print(text, end="")

    return _ask(options, "status", show)


def _reload(options: argparse.Namespace) -> int:
    return _ask(options, "reload", lambda answer: print(f"generation {answer['generation']}"))


def _demo(options: argparse.Namespace) -> int:
    from proxy.app import OperatorError, run_demo

    try:
        return run_demo(options.listen, options.dir, lambda text: print(text, end="", flush=True))
    except OperatorError as error:
        return _complain(str(error), _FAILED)


def _bench(options: argparse.Namespace) -> int:
    from proxy.app import BenchOptions, OperatorError, run_bench

    asked = BenchOptions(options.rounds, not options.no_nginx, options.json)
    try:
        return run_bench(asked, lambda text: print(text, end="", flush=True), sys.stderr)
    except OperatorError as error:
        return _complain(str(error), _FAILED)


def _ask(options: argparse.Namespace, command: str, show: Callable[[dict[str, Any]], None]) -> int:
    """Ask a running proxy; show its answer, or say why there is none."""
    from proxy.app import AdminUnreachable, ask

    path = options.socket or _DEFAULT_SOCKET
    if options.config is not None:
        from proxy.config import ConfigError, load

        try:
            socket = load(options.config).admin.socket
        except ConfigError as error:
            return _complain(str(error), _WRONG)
        if socket is None:
            return _complain(f"{options.config}: admin.socket is off", _WRONG)
        path = Path(socket)
    try:
        answer = ask(path, command)
    except AdminUnreachable as error:
        return _complain(f"no running proxy answers: {error}", _FAILED)
    if not answer.get("ok"):
        return _complain(str(answer.get("error")), _FAILED)
    show(answer)
    return _OK


def _complain(text: str, status: int) -> int:
    for line in text.splitlines():
        print(f"vestibule: {line}", file=sys.stderr)
    return status
