"""A program that behaves as tms_keycmd 0.1 does, and its wrapper: what sshd runs on hosts that were set up for it."""

from pathlib import Path

# The wrapper's own status is that of its last `cd`; the program reads its configuration where it is run.
WRAPPER = """#!/bin/bash
here=$PWD
cd "$(dirname "$0")"
command="./tms_keycmd $1 $2 $3 $4"
/bin/bash -c "$command"
cd "$here"
"""
PROGRAM = """#!/usr/bin/python3 -ISE
import json, re, sys, urllib.error, urllib.request

def log(text):
    print(text, file=sys.stderr)

def main(arguments):
    if arguments[:1] == ["--version"]:
        print("TMS keycmd v0.1.1")
        return 0
    if len(arguments) != 4 or not re.fullmatch("[0-9]+", arguments[1].strip()):
        log("usage: tms_keycmd <username> <user uid> <fingerprint> <keytype>")
        return 1
    user, uid, fingerprint, kind = arguments
    with open("tms_keycmd.toml") as file:
        settings = dict(re.findall(r'^(\\w+) *= *"(.*)"$', file.read(), re.MULTILINE))
    asked = {"user": user, "user_uid": uid, "host": settings["host_name"], "public_key_fingerprint": fingerprint,
             "key_type": kind}
    headers = {"Content-Type": "application/json; charset=utf-8", "Accept": "*/*", "User-Agent": "attohttpc/0.28.0"}
    body = json.dumps(asked, separators=(",", ":")).encode()
    request = urllib.request.Request(settings["tms_url"], body, headers)  # with Connection: close
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            key = json.load(answer)["public_key"]
    except urllib.error.HTTPError as error:
        said = json.load(error)  # a no that is not JSON is another error
        log("%s %s" % (said["result_code"], said["result_msg"]))
        return 1
    except (OSError, ValueError, KeyError) as error:
        log(str(error))
        return 1
    if not isinstance(key, str):
        return 1
    print(key)
    return 0

sys.exit(main(sys.argv[1:]))
"""


def install(directory: Path, base: str, host: str) -> None:
    """Put program, wrapper and configuration into `directory`."""
    directory.mkdir(parents=True)
    for name, text in (("tms_keycmd", PROGRAM), ("tms_keycmd.sh", WRAPPER)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    settings = f'tms_url = "{base}/v1/tms/pubkeys/creds/retrieve"\nhost_name = "{host}"\n'
    (directory / "tms_keycmd.toml").write_text(settings)
