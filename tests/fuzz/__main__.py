"""`python -m fuzz`: see `fuzz.run`."""

from fuzz.run import main

if __name__ == "__main__":
    main()
