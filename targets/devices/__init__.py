"""Devices over TVM's RPC: the server on a board, and the client here."""
