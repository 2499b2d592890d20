"""The door: which commands there are, and how an error leaves the program."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import click

from eurosky_pipeline import __version__
from eurosky_pipeline.cli.output import print_error
from eurosky_pipeline.errors import EuroskyError

_COMMANDS = {
    "car": ("eurosky_pipeline.cli.car", "Look into a repository's CAR file, verify it, convert it; offline."),
    "demo": ("eurosky_pipeline.cli.demo", "Move a seeded account between two real servers, and verify it."),
    "doctor": ("eurosky_pipeline.cli.doctor", "What is wrong with this installation, and what to do."),
    "identity": ("eurosky_pipeline.cli.identity", "Who an account is: handle, DID, server and key."),
    "migrate": ("eurosky_pipeline.cli.migrate", "Run migrations now, in the foreground."),
    "migrations": ("eurosky_pipeline.cli.migrations", "Register migrations and look at them."),
    "plugins": ("eurosky_pipeline.cli.plugins", "What plugins offer, from where, and what of it is broken."),
    "pause": ("eurosky_pipeline.cli.pause", "Start nothing new; what runs ends."),
    "resume": ("eurosky_pipeline.cli.pause", "The end of `eurosky pause`."),
    "report": ("eurosky_pipeline.cli.report", "One migration in figures, in the terminal or as a page with plots."),
    "sandbox": ("eurosky_pipeline.cli.sandbox", "A PLC directory and two real PDSes on this machine."),
    "sensors": ("eurosky_pipeline.cli.sensors", "What starts by itself, and switching it on and off."),
    "stats": ("eurosky_pipeline.cli.stats", "All migrations in figures."),
    "up": ("eurosky_pipeline.cli.up", "The Dagster UI and daemon, on loopback."),
    "vault": ("eurosky_pipeline.cli.vault", "Keys that encrypt stored passwords."),
}


class _LazyGroup(click.Group):
    """Knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in sorted(_COMMANDS)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eurosky")
def cli() -> None:
    """Move AT Protocol accounts from one PDS to another, and prove that nothing was lost.

    \b
    See it work:    eurosky demo
    For real:       eurosky migrations add --help, then eurosky migrate TOKEN
    In the UI:      eurosky up

    Results go to stdout, everything else to stderr; with --json, stdout is one JSON value.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0, 1 for an error, 2 for bad arguments, or what the command says."""
    words: list[str] = sys.argv[1:] if arguments is None else arguments
    is_json = "--json" in words
    # a service manager's stop, and a terminal that goes away, are as clean as Ctrl-C; Dagster knows SIGTERM only
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    # plugins of pydantic's would be looked for among all that is installed, however damaged, and see our settings
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code: Any
    try:
        code = cli(args=words, prog_name="eurosky", standalone_mode=False)
    except click.UsageError as error:
        if not is_json:
            error.show()
        else:
            print_error("usage", error.format_message(), "see --help", is_json=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EuroskyError as error:
        print_error(error.code, error.message, error.hint, is_json=is_json)
        code = 1
    except (KeyboardInterrupt, click.Abort):
        print_error("stopped", "stopped", "it can be run again", is_json=is_json)
        code = 1
    except BrokenPipeError:
        code = 1
    except OSError as error:
        message = f"{error.strerror or 'input or output failed'}{f': {error.filename}' if error.filename else ''}"
        print_error("disk", message, "check the file, and the disk that it is on", is_json=is_json)
        code = 1
    except Exception as error:  # the last door: a program that reads JSON gets JSON
        if not is_json:
            raise
        print_error(
            "internal", f"an unexpected {type(error).__name__}", "run it without --json to see more", is_json=True
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
