"""The zipapp's entry point."""

import os

# Before OpenSSL and the resolver are loaded: SSL_CERT_FILE, OPENSSL_CONF or LOCALDOMAIN would have a say otherwise.
os.environ.clear()

from principals_cmd.main import main

main()
