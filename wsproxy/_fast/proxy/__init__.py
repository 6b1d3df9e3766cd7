"""Requests on their way from clients to servers and back."""
