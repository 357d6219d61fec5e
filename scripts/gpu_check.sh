#!/bin/sh
# Unpacks the bundle that this script lies in and runs the check of the GPU node; what is found goes to the folder $1.
set -eu
bundle=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
work=${VCFRAG_GPU_WORK:-/tmp/vcfrag-gpu}
python=${PYTHON:-python3}

mkdir -p "$work/site" "$work/tree"
tar -xJf "$bundle/tree.tar.xz" -C "$work/tree"
"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$work/site" \
    "$bundle"/wheels/*.whl
libraries=$("$python" -c 'import importlib.util as u; s = u.find_spec("nvidia"); print(next(iter(s.submodule_search_locations)) if s else "")')
if [ -f "$bundle/faiss.tar.xz" ]; then
    tar -xJf "$bundle/faiss.tar.xz" -C "$work/site"
    LD_LIBRARY_PATH="$libraries/cu13/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export LD_LIBRARY_PATH
fi
cd "$work/tree"
PYTHONPATH="$work/tree:$work/tree/proto:$work/tree/vcfrag_indexd:$work/site${PYTHONPATH:+:$PYTHONPATH}"
PYTHONUNBUFFERED=1
VCFRAG_DATA="$bundle/data"
export PYTHONPATH PYTHONUNBUFFERED VCFRAG_DATA
exec "$python" -m benchmarks.gpu --out "$out" --data "$bundle/data" "$@"
