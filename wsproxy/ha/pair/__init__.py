"""
Two proxies and a floating address: what IBM Workload Deployer calls high availability (docs/decisions/0021).

keepalived moves the address; it is driven by files and signals alone. One agent a node decides what these files say, and lives
only from ``wsproxy ha start`` to ``wsproxy ha stop``: a proxy alone pays nothing.

    rules        states, transitions, what the files are to say (pure)
    conf         keepalived.conf of a node (pure)
    folder       where all of it stands: state, logs, sockets
    keepalived   the program: tried, started, told, asked, ended
    watch        the proxy on this machine: gone, stopped, silent, well
    link         the other node, by TLS over both networks
    agent        the process that has all these
    adverts      when VRRP's packets of the other node came
    linger       open connections, when the address moves as planned
    programs     keepalived, ip and nft: found and run
    commands     what an operator tells the agent, and how that is done
    keeper       starts the agent, and again should it die
    ask          the agent is asked, from the command line
    load         a hundred requests a second through the address
    drill        failures on request, measured; report: what is shown of it
"""
