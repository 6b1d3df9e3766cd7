"""Who is a member, in which order, who holds what only one may hold, and until when."""
