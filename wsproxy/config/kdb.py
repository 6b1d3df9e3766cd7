"""
CMS key databases (.kdb): what to do about files that only GSKit can read.

Used by ``config.check_cluster`` and ``config.keystore``. Pure.
"""

from __future__ import annotations

from wsproxy.config.values import is_windows_path

_SUFFIX = ".kdb"


def is_kdb(path: str) -> bool:
    """Whether the name is that of a CMS key database."""
    return path.lower().endswith(_SUFFIX)


def conversion_command(path: str) -> str:
    """
    What makes a PKCS#12 file of a .kdb, on a machine with GSKit (IHS has it in its bin folder).

    ``-v1stash``: the password goes into a stash file of the first format, the only one that is known.
    """
    stem = path[: -len(_SUFFIX)]
    command = f'gskcapicmd -keydb -convert -db "{path}" -stashed -new_db "{stem}.p12" -new_format p12 -v1stash'
    if not is_windows_path(path):
        return command
    name = stem.replace("\\", "/").rpartition("/")[2]
    return f"on the Windows machine that has it {command}; then {name}.p12 and {name}.sth are copied here, and named"


def kdb_refusal(path: str) -> str:
    """``found X; allowed is Y`` for a .kdb."""
    return (
        f"found {path!r}, a CMS key database, which only GSKit reads; allowed is PKCS#12 or PEM. "
        f"To convert it: {conversion_command(path)}"
    )
