"""Li-Stephens copying from candidates: problem, reference, kernels, gradient, layer, parameters."""
