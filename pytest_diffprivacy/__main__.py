"""`python -m pytest_diffprivacy`: what can be done with a finished audit?"""

import sys
from io import TextIOWrapper

from pytest_diffprivacy.cli import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a pipe may know ASCII only, and an exit code of 1 means FAIL
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
