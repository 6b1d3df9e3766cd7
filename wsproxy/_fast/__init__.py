"""
The fast path, all Cython. Imports nothing from the rest of wsproxy.

Its floors, from the bottom up; each imports only those below it, and of its own floor what makes no circle
(``tests/unit/_fast/test_floors.py`` reads every import). Within a floor the order is the one in which a request meets them:

==========  =========================================================================================================
``base``    ``memory`` is where bytes of Python objects are, or copies that end where they end, ``borrowed`` checks that nobody keeps what was only lent,
            ``buffer`` grows; ``chars``: what single characters are; ``clock``;
            ``atomics`` and ``lock`` for shared memory; ``orphan`` ends a process whose parent is gone
``http``    ``head``, ``fields`` (in ``steps`` of sixteen bytes), ``paths`` and ``chunked`` read strictly; ``origin``: who the client is, also by the word
            of a TrustedProxy; ``scratch`` has field lines that go on otherwise than they came, ``forwarded`` some of
            these; ``rewrite``, ``trailers``, ``upgrade`` and ``dates`` write; ``trace_context`` reads traceparent, and writes the next one;
            ``codings``: which one a client wants
``state``   what all workers share: ``segment`` (weights, down marks, counts), ``changes``, ``client_counts``,
            ``takeover`` (where sessions went), ``queue``, ``probed``: what active probes say, and ``tried``: where one
            request was already; ``operator``: what people said of a server, ``seen``: how many sessions it has,
            ``latency``: how long it takes to answer, ``board``:
            what workers are asked of running requests; ``meters``: what metrics are made of
``decide``  ``view`` is one configuration; ``edge``: what becomes of a request before any server, ``maintain``: that an operator has
            no server asked; which cluster: ``match``, its tables from ``match_draft`` and ``match_tables`` in
            the one block of ``match_block``, which other processes map;
            which server: ``decide`` joins ``affinity`` (clone ids) and ``cluster``, which asks ``balance``, and ``sight``
            keeps who was passed over; ``probes``: what an active probe means for a server; ``operate``: words of operators;
            ``writers``: which servers write clone ids themselves; ``session_cookie`` and ``edits``: what the decision changes
            in the request and in the answer; ``compression``: which answers are compressed
``tell``    ``witness`` (http_plugin.log), ``access_line``, a format of ``access_parts`` written in ``pieces``, and ``ended``: why a request ended; ``mask``: what no
            log may tell, by what ``scan`` sees in it and by names of ``secrets``, ``told``: heads for http_plugin.log, ``readable``: its escapes;
            ``exposition``: metrics as Prometheus reads them; ``trace``: which requests are sampled, and records of these
``net``     ``poller`` accepts, reads and sends; ``stream`` is one connection, ``endpoint`` what the kernel knows of it and what it asks of our transports, ``pipe`` the way of large bodies, ``records`` what
            arrived of a TLS connection, ``taken`` what its socket has of what was sent, ``libssl`` the library that reads it; ``tls_socket``:
            TLS of clients without the event loop, ``doors`` lets all clients in, ``tls_terms`` by which they begin; ``sockets`` and ``epoll``: what they ask of
            the kernel; ``ticker`` wakes the worker up for its sweeps; ``datagrams``: lines for syslog, ``appends``:
            for a file, ``below``: files of a folder
``proxy``   ``engine`` has what all connections share, ``pool`` warm connections to a server, ``slow`` the questions that
            Python answers. One request is an ``exchange``, as ``upstream``, the server's side, with its ``tunnel``, sees it: ``account`` is
            what is told of it, ``course`` what becomes of it, ``intake`` takes it in, ``asked`` is what the slow path may know
            of it, ``downstream`` what it may do with it, ``explained`` tells a client that asks, ``running`` an operator. It is no socket: its answer goes to a ``sink``. ``http1`` is a
            client's connection, ``linger`` its end, and ``answer`` the sink of its exchange; ``squeeze`` compresses before that
``logs``    http_plugin.log: ``lines`` and ``fields`` split it, ``request`` is one of its requests, ``follow``, ``tries``
            and ``replay`` take its decisions again, ``simulate`` other ones; ``heard`` is whom they ask and tell
==========  =========================================================================================================
"""
