"""An embedded cluster of three app servers that keep their sessions as WebSphere and Liberty do."""
