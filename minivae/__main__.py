"""`python -m minivae` is the command line."""

from minivae.cli import main

raise SystemExit(main())
