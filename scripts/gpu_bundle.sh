#!/bin/sh
# Gathers into the folder $1 what a GPU node without a network needs for `make gpu-check`: this tree, wheels for its
# Python (PYTHON_VERSION, 3.12 unless given), FAISS for its GPU (FAISS_BUNDLE, a tar file of packages, if there is one)
# and the data of the development tasks (VCFRAG_DATA). Ends by saying how to run it there.
set -eu
folder=$1
version=${PYTHON_VERSION:-3.12}
data=${VCFRAG_DATA:-../shared/data}
faiss=${FAISS_BUNDLE:-../shared/gpu/faiss_bundle.tar.xz}

rm -rf "$folder"
mkdir -p "$folder/wheels" "$folder/data"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -cJf "$folder/tree.tar.xz"
python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --dest "$folder/wheels" --requirement scripts/gpu_wheels.txt
if [ -f "$faiss" ]; then
    cp "$faiss" "$folder/faiss.tar.xz"
fi
for file in 1kg_chr20_0.06-2.29Mb_2404.bcf 1kg_chr20_0.06-2.29Mb_2404.bcf.csi chr20.b37.gmap.gz samples_2404.tsv \
    chr20_array_sites.tsv task_random50_sites.tsv task_targets.txt README.md; do
    if [ -f "$data/$file" ]; then
        cp "$data/$file" "$folder/data/"
    fi
done
cp scripts/gpu_check.sh "$folder/check.sh"
du -sh "$folder" | cut -f1
echo "copy $folder to the node and run there: sh $folder/check.sh OUT [arguments of benchmarks.gpu]"
