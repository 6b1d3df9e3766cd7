"""
Several proxies as one group: who is there, who does what only one may do, what all of them know of the servers.

One process beside the workers (``agent``), started only where ``[ha]`` is configured. etcd has the consensus, the leases and
the order of all words (docs/decisions/0019); nothing here is a consensus, a heartbeat or an address protocol of our own. A
worker never asks anything of this package: words come into the slots that it judges by anyway, and losing etcd changes
nothing for requests.

    agent        the process: starts what follows, ends it in order
    board/       what one proxy knows and all are to know: rule (pure), words (slots <-> words), poster and subscriber
    bridge/      two sites, each with an etcd of its own: chosen words of one, taken over by the other
    group/       members and views; seat: who holds what only one may hold (pure); fence: until when (pure); membership
    policy       which members of a group are to be active (pure)
    master/      one plugin-cfg.xml for all: published in etcd, applied by each
    store/       the one small interface; etcd by its JSON gateway; the etcd that is started for trying
    pair/        two proxies and a floating address, without a store: keepalived moves it
    certs        keys for etcd and for the members
    names        where everything stands in etcd

Pure parts get ``now`` and the view and return what is to be done.
"""
