"""What all workers share: slots, the queue, the ring of changes, sessions that moved."""
