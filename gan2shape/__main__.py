"""`python -m gan2shape` is the command."""

from gan2shape.cli import main

if __name__ == "__main__":
    main()
