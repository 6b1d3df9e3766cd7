"""The bulletin board: one state of all servers over all proxies."""
