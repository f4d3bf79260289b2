"""Other people's weight files, read without running a line of what they bring."""
