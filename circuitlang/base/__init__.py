"""Source positions, findings, and files that are read and written with care. Everything may import this."""
