"""`triptych`: ask a running service from a shell.

Exit codes: 0 done, 2 wrong usage or a file that cannot be read or written, 3 refused by the server,
4 the server or the way to it failed, 130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from triptych.arguments import build_parser
from triptych.client.errors import RefusedError, TriptychClientError
from triptych.commands import COMMANDS
from triptych.files import UsageError

EXIT_OK, EXIT_USAGE, EXIT_REFUSED, EXIT_FAILED, EXIT_INTERRUPTED = 0, 2, 3, 4, 130
EXIT_PIPE = 141  # what a shell says of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - an exit code each
    """Run a command line; returns the exit code. Errors are a line each on stderr."""
    arguments = build_parser(COMMANDS).parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # What is still in its buffer has nowhere to go; the interpreter must not try at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except UsageError as error:
        complain(str(error))
        return EXIT_USAGE
    except TriptychClientError as error:
        complain(worded(error))
        if not isinstance(error, RefusedError):
            return EXIT_FAILED
        return EXIT_USAGE if error.status is None else EXIT_REFUSED
    except OSError as error:
        complain(f"{error.filename or 'a file'}: {error.strerror or error}")
        return EXIT_USAGE
    return code


def worded(error: TriptychClientError) -> str:
    """An error as a line that names its field."""
    message = " ".join(error.message.split())
    named = error.param is None or error.param in message
    return message if named else f"{error.param}: {message}"


def complain(message: str) -> None:
    """A line on stderr."""
    print(f"triptych: {message}", file=sys.stderr)
