"""``python -m hvd_nowcast``: the same program as the ``hvd-nowcast`` command."""

from hvd_nowcast.cli import main

if __name__ == "__main__":
    main()
