"""C that every library is built with: its threads, and its entry for TVM's RPC."""
