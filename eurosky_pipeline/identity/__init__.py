"""Who an account is: from a DID to its document, and from there to the server that the world is told to ask."""
