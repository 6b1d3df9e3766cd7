"""Instructions that the fast path needs, counted by valgrind: they do not depend on neighbours, so a rise is the code's."""
