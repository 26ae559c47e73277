"""`python -m srkit` is `srkit`: what torchrun starts in each process."""

from srkit.cli import main

if __name__ == "__main__":
    main()
