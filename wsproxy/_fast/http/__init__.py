"""HTTP/1 heads and bodies: read strictly, changed, written."""
