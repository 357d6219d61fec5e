"""Version 1 of the contract. `index_pb2*` are generated from `index.proto` by `make proto`; never edit them."""
