# What a simulation needs besides `replay`: a known start of everything random, and the session of a request.
