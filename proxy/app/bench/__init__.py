"""`vestibule bench`: what hellos and handshakes cost on this machine, measured beside nginx."""
