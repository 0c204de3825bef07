"""`vestibule demo`: everything one needs to see the proxy work, with nothing prepared."""
