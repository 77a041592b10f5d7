"""`tms-host rotate`: a new host credential takes the old one's place, and no question is refused in between."""

import time

from keycmd import files
from keycmd.admin import daemon, service
from keycmd.admin.join import IN_FLIGHT_SECONDS, new_credential
from keycmd.admin.places import AdminError, sentence
from keycmd.config import ConfigError, load_without_token

_MOST_TOKEN_BYTES = 4096


def rotate(places):
    """Make a credential, let the service know its digest, use it, and have the others of this machine dropped.

    Raises:
        AdminError: with what is true now; whatever happens, the credential in the file is one that works
    """
    places.needs_root()
    config = configuration(places)
    credential, digest = new_credential()
    with service.Service(config) as asked, files.NewFiles() as new:
        path = "hosts/%s/credential" % config.host
        try:
            new.add(places.token, credential.encode("ascii") + b"\n", files.SECRET, places.uid, places.gid)
            asked.good("POST", path, {"credential_sha256": digest, "node": config.node})
            new.put_in_place()
        except (AdminError, files.FilesError) as error:
            raise AdminError("%s The old credential stays in use; run this again" % sentence(error)) from error
        asked.use_token(credential)
        try:
            # The daemon first: with the old credential it would be refused as soon as that is dropped.
            daemon.reload(config.run_dir)
            time.sleep(IN_FLIGHT_SECONDS)
            asked.good("DELETE", path)
        except AdminError as error:
            raise AdminError(
                "%s The new credential is in use, the old one still works: run this again" % sentence(error)
            ) from error


def configuration(places):
    """Return the Config of a joined host, with its credential.

    Raises:
        AdminError: not joined, or not usable
    """
    try:
        config = load_without_token(places.config)
        # Root reads here what tms-host owns, which the programs of tms-host would call another's file.
        token = files.read(config.token_file, _MOST_TOKEN_BYTES)
    except (ConfigError, files.FilesError) as error:
        raise AdminError("%s; is this host joined?" % error) from error
    text = (token or b"").decode("ascii", "replace").strip()
    if not text.startswith("tms_h_") or not text.isprintable() or len(text) > 200:
        raise AdminError("%s does not hold a host credential; is this host joined?" % config.token_file)
    config.token = text
    return config
