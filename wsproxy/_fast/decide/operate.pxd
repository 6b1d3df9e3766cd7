# What an operator does to a server. Called from Python alone: nothing of it is on a request's way.
