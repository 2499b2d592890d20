#!/usr/bin/env bash
# One blob from a server to another, as one would do it by hand: curl_peer.sh SOURCE DESTINATION DID FOLDER CID
# The digest goes to FOLDER/CID.sha256, what the destination answers to FOLDER/CID.json.
set -euo pipefail
source=$1 destination=$2 did=$3 folder=$4 cid=$5

mkfifo "$folder/$cid.pipe"
openssl dgst -sha256 -r "$folder/$cid.pipe" >"$folder/$cid.sha256" &
curl -sS --fail "$source/xrpc/com.atproto.sync.getBlob?did=$did&cid=$cid" |
	tee "$folder/$cid.pipe" |
	curl -sS --fail -X POST -H "Content-Type: image/jpeg" -T - \
		"$destination/xrpc/com.atproto.repo.uploadBlob" >"$folder/$cid.json"
wait
rm "$folder/$cid.pipe"
