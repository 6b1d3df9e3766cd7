"""Where the group is kept: ``base`` is the interface, ``etcd`` the one implementation, on ``gateway``; ``embedded`` starts one."""
