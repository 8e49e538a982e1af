"""The program's own command on ranks: ``command.py ARGUMENTS...``."""

from hvd_nowcast.cli import main

main()
