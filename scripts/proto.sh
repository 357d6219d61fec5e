#!/bin/sh
# Generates the Python package of the contract into $2 with the compiler of the environment $1.
# With --check instead of a folder: generates it aside and fails, with the difference, where the committed one differs.
set -eu
python=$(cd "$1" && pwd)/bin/python
cd "$(dirname "$0")/../proto"

generate() {
    "$python" -m grpc_tools.protoc -I. --python_out="$1" --pyi_out="$1" --grpc_python_out="$1" vcfrag_proto/v1/index.proto
}

if [ "$2" != --check ]; then
    generate "$2"
    exit 0
fi
aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT
generate "$aside"
for file in "$aside"/vcfrag_proto/v1/*; do
    if ! diff -u "vcfrag_proto/v1/$(basename "$file")" "$file"; then
        echo "the committed $(basename "$file") is not what index.proto generates; run: make proto" >&2
        exit 1
    fi
done
