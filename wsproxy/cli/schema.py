"""
``wsproxy schema``: the grammar of plugin-cfg.xml for editors.

Driven by ``cli.main``. Must not know the grammar: ``config.schema`` does.
"""

from __future__ import annotations

import sys

import click

from wsproxy.config.schema import schema_text


@click.command(epilog="How an editor uses it: docs/check.md.")
def schema() -> None:
    """
    Print an XML Schema (XSD) of plugin-cfg.xml, for editors: names, values, ranges, and what each one means.

    It says what `wsproxy check` takes for well-formed; whether the parts fit together only `wsproxy check` says.
    """
    sys.stdout.buffer.write(schema_text().encode())
