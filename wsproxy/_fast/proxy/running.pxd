# A worker's answer to who asks what it does. Called from Python alone: nothing of it is on a request's way.
