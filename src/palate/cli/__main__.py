"""Run the command line: ``python -m palate.cli``."""

from palate.cli import main

if __name__ == "__main__":
    main()
