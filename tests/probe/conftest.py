from tests.servers.fixtures import authority, echo, example

__all__ = ["authority", "echo", "example"]
