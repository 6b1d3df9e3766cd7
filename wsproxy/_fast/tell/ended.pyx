"""
Why an exchange ended, in two letters, and where its time went.

Noted by ``proxy.exchange`` and ``proxy.account``; written by ``access_line``. The letters are HAProxy's, so that who knows
its logs reads these (its configuration manual, "Session state at disconnection"); what each means is in docs/access-log.md.
"""


def letters_of(int cause) -> str:
    """The two letters."""
    return chr(cause >> 8) + chr(cause & 0xFF)
