"""`python -m pytest_diffprivacy`: what can be done with a finished audit?"""

import sys

from pytest_diffprivacy.cli import main

if __name__ == "__main__":
    sys.exit(main())
