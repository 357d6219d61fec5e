"""Starts workers on a SLURM cluster by dask-jobqueue, and imputes on them.

    pip install 'vcfrag[cluster]' dask-jobqueue
    python workflows/dask_jobqueue.py 40 --panel 'ref.chr{contig}.bcf' --map 'map.{contig}.gmap' \
        --target array.vcf.gz --out imputed.bcf

The first word is how many workers there may be; all others are options of `vcfrag impute`. For another scheduler take
dask-jobqueue's class of it, such as PBSCluster.
"""

from __future__ import annotations

import subprocess
import sys

from dask_jobqueue import SLURMCluster


def main(most: int, options: list[str]) -> int:
    """Runs `vcfrag impute` with workers that come and go as the queue allows; its exit status."""
    with SLURMCluster(cores=1, processes=1, memory="8GB", walltime="04:00:00") as cluster:
        cluster.adapt(minimum=1, maximum=most)
        command = ["vcfrag", "impute", *options, "--cluster", cluster.scheduler_address]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
