# How a process ends whose parent has ended. Nothing here is for other modules of the fast path.
