"""
A site for wsproxy: the file itself, with its servers on loopback.

Pure.
"""

from __future__ import annotations

from wsproxy.bench.peers.common import Place, Said
from wsproxy.bench.site import Site
from wsproxy.config.write import write_config

FILE = "plugin-cfg.xml"


def say(site: Site, _place: Place) -> Said:
    """plugin-cfg.xml as a file, and nothing that could not be expressed."""
    return Said({}, {FILE: write_config(site.config)})
