"""Serves an app: the socket, the servers, their processes."""
