#!/bin/sh
# Installs the Debian packages that tests and comparisons use. A test skips, with its reason, where its program is
# missing, so a machine where this cannot run loses those tests and nothing else.
set -eu
missing=
add() { command -v "$1" >/dev/null || missing="$missing $2"; }
add bcftools bcftools
add bgzip tabix
add plink2 plink2
add beagle beagle
add minimac4 minimac4
add shapeit4 shapeit4
add chromium chromium
if [ -z "$missing" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: the tests that need$missing are skipped" >&2
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "not root: the tests that need$missing are skipped; to run them: sudo apt-get install$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! apt-get update -q; then
    echo "apt-get update failed: the tests that need$missing are skipped" >&2
    exit 0
fi
# One by one, so that a package that this release does not have costs only its own tests.
for package in $missing; do
    apt-get install -q -y --no-install-recommends "$package" \
        || echo "$package could not be installed: the tests that need it are skipped" >&2
done
