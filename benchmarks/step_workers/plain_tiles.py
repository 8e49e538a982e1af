"""Half of a scene's tiles without Spark, for ``benchmarks/spark_predict.py``.

``plain_tiles.py RUN SCENE PART``: each line of input names a folder for the results.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hvd_nowcast.spark.plan import Request
from hvd_nowcast.spark.work import open_work


def main() -> None:
    run, scene, part = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with open_work(run, Request((scene,))) as work:
        for line in sys.stdin:
            for piece in work.pieces[part::2]:
                work.compute(piece, Path(line.strip()) / piece)
            print("done", flush=True)


if __name__ == "__main__":
    main()
