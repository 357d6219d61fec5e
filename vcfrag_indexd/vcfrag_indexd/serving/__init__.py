"""The gRPC server: health, security, metrics, tracing."""
