"""What every floor above stands on: memory, clocks, bytes that grow."""
