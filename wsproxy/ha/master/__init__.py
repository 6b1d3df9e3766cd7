"""
The config master: one plugin-cfg.xml for all proxies of a group, that outlives whoever published it.

It is kept in etcd (``library``), not by a process: a Deployment Manager that is down stops nothing here. ``words``: what stands there; ``follower``: each
proxy's part, in its ha process; ``rollout``: one proxy after the other, driven by whoever publishes. The other half of a proxy's part is ``reload.published``,
by way of the folder ``ha.config_folder`` (``config.published``), from which a proxy starts without etcd.
"""
