"""The kernels of `bitscan-gpu` and the device that they run on."""
