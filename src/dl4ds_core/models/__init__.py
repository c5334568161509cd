"""The networks. `requirements` can be used without importing Keras; `build_network` lives in `networks`."""
