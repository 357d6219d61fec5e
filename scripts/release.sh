#!/bin/sh
# Builds both distributions into $1, and beside them what they are made of: a CycloneDX bill of materials of each, from an
# environment that holds it and its dependencies alone.
set -eu
out=$1
tools=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$out"
for project in . vcfrag_indexd; do
    "$tools/bin/python" -m build --outdir "$out" "$project"
done
for name in vcfrag vcfrag_indexd; do
    "$tools/bin/python" -m venv "$work/$name"
    # pip itself is no part of what is released.
    "$tools/bin/python" -m pip --python "$work/$name" install --quiet --find-links "$out" "$out/$name"-*.whl
    "$tools/bin/python" -m pip --python "$work/$name" uninstall --quiet --yes pip setuptools
    "$tools/bin/cyclonedx-py" environment --output-reproducible --output-format JSON \
        --pyproject "$([ $name = vcfrag ] && echo . || echo $name)/pyproject.toml" \
        --output-file "$out/$name.cdx.json" "$work/$name/bin/python"
done
