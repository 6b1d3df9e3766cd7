"""
The fast path, all Cython. Imports nothing from the rest of wsproxy.

Where to look first; within a group in the order in which a request meets them:

=================  ==================================================================================================
sockets            ``poller`` accepts, reads and sends; ``stream`` is one connection, ``pipe`` the way of large bodies
a request          ``intake`` takes it in, ``client`` is its connection and how it ends, ``downstream`` what the slow
                   path may do with it; ``exchange`` is what ``upstream``, the server's side, sees of it; ``engine``
                   has what all of them share
HTTP               ``head``, ``fields``, ``paths`` and ``chunked`` read strictly; ``rewrite``, ``trailers``, ``upgrade``
                   and ``dates`` write; ``edits``, ``lines``, ``forwarded`` and ``session_cookie`` change what goes on
which cluster      ``match``; its tables come from ``match_draft`` and ``match_tables``
which server       ``decide`` joins match, ``affinity`` (clone ids) and ``select`` (the cluster), which asks ``balance``;
                   ``tried`` is what a request tried already, ``takeover`` where sessions went, ``waiting`` the queue
over all workers   ``state`` (weights, down marks, counts), ``lock``, ``changes``, ``client_counts``
told to people     ``witness`` and ``sight`` (http_plugin.log), ``access_log`` and ``access_text``, ``explained``
logs read          ``loglines`` and ``logfields`` split them, ``logged`` is a request of theirs, ``logfollow``,
                   ``logtries`` and ``replay`` take its decisions again, ``simulate`` other ones
=================  ==================================================================================================
"""
