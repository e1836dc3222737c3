"""Front door of a checkout: `python cli.py train` does what `decolle-hw train` does after installation."""

from decolle_hw.cli import main

if __name__ == "__main__":
    main()
