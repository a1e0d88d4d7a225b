"""Real servers on free loopback ports: an authority, `seawall serve`, nginx; stopped by pid."""
