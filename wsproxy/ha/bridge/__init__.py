"""Two sites, each with an etcd of its own: ``rule`` which word of the other site holds here (pure), ``words`` what an end says of itself (pure), ``bridge`` reads there and writes here."""
