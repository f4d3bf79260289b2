"""An interactive page for finished runs, served on this machine (extra `viewer`: viser)."""
