"""
Programs that only some members of a core group run: which ones, in which order they stop and start, and that none is left.

    order      what comes after what, for one resource on one member (pure)
    processes  which processes are a resource's, whether its ports and locks are free; and their end
    lock       which keeper may act, and who has that where it is somebody else
    command    one program of a resource that runs: its environment, its time, what it said
    keeper     the process that runs one resource, and stops it when nobody tells it any more that it may run
    birth      how a process that was forked becomes a keeper, or its guard: the one that ends what a keeper leaves that died
    messages   what both sides say to each other
    runner     the member's side of that process
    words      what is kept in etcd of groups and policies
    choice     who is to be active, from what etcd says (pure)
    groups     the groups of this member: what it offers, takes and gives back
    told       all of it for people: `wsproxy ha groups`
"""
