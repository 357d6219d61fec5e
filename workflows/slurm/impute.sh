#!/bin/sh
# Plans here, imputes in an array of SLURM jobs, and merges when all of them are done.
#
#   sh workflows/slurm/impute.sh job.json --panel 'ref.chr{contig}.bcf' --map 'map.{contig}.gmap' \
#       --target array.vcf.gz --out imputed.bcf
#
# The environment may set CHUNKS_PER_TASK (1), TASKS_AT_ONCE (200), MEMORY (8G), HOURS (4), THREADS (1), and REPORT, an
# HTML page that is written from the chunks. Manifest and chunks are removed after the merge, unless KEEP is set: then
# `vcfrag report` can still read them, and `vcfrag merge job.json --remove` ends it.
set -eu
manifest=$1
shift
chunks_per_task=${CHUNKS_PER_TASK:-1}
threads=${THREADS:-1}

[ -e "$manifest" ] || vcfrag plan --manifest "$manifest" --threads "$threads" "$@"
chunks=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["chunks"]))' "$manifest")
last=$(((chunks + chunks_per_task - 1) / chunks_per_task - 1))

array=$(sbatch --parsable --job-name=vcfrag --array="0-$last%${TASKS_AT_ONCE:-200}" \
    --cpus-per-task="$threads" --mem="${MEMORY:-8G}" --time="${HOURS:-4}:00:00" --wrap "
first=\$((SLURM_ARRAY_TASK_ID * $chunks_per_task))
stop=\$((first + $chunks_per_task))
[ \$stop -le $chunks ] || stop=$chunks
vcfrag run-chunk --threads $threads '$manifest' \$(seq \$first \$((stop - 1)))
")
# Before the chunks go that it is made of.
report=${REPORT:+"vcfrag report '$manifest' --out '$REPORT' --threads $threads && "}
remove=--remove
[ -z "${KEEP:-}" ] || remove=
sbatch --job-name=vcfrag-merge --dependency="afterok:$array" --cpus-per-task="$threads" --mem="${MEMORY:-8G}" \
    --time="${HOURS:-4}:00:00" --wrap "${report}vcfrag merge --threads $threads '$manifest' $remove"
