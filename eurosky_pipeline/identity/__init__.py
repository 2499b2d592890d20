"""Who an account is: from a handle to a DID, from the DID to its document, and from there to the server and the key.

`directory` says where is asked, `did` and `handle` ask there, `document` reads, and `account` holds the answers against
each other. What a handle says counts only where the DID's document says it too.
"""
