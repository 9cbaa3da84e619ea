"""Verify a DSSE envelope with one ECDSA key, from the specification alone."""

import base64
import json
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

envelope = json.load(open(sys.argv[1], "rb"))
key = serialization.load_pem_public_key(open(sys.argv[2], "rb").read())
payload = base64.b64decode(envelope["payload"], validate=True)
kind = envelope["payloadType"].encode()
signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
key.verify(base64.b64decode(envelope["signatures"][0]["sig"], validate=True), signed, ec.ECDSA(hashes.SHA256()))
statement = json.loads(payload)
assert statement["_type"] == "https://in-toto.io/Statement/v1", statement["_type"]
assert statement["predicateType"] == "https://slsa.dev/provenance/v1", statement["predicateType"]
definition = statement["predicate"]["buildDefinition"]
assert definition["buildType"] and "externalParameters" in definition
print("verified", len(statement["subject"]), "subjects")
