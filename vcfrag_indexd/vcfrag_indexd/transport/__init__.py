"""Calls as they come over the network: gRPC's completion queue, messages under way to here, sockets."""
