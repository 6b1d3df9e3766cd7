"""
A request while its lines are being read: what the log has said of it so far.

Driven by ``replay``. Pure data, which is filled line by line in ``_fast.logfollow``; here is where the package takes it from.
"""

from wsproxy._fast.logged import Attempt, LoggedRequest

__all__ = ["Attempt", "LoggedRequest"]
