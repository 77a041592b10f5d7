#!/bin/sh
# Install the Debian packages that a target needs, when they are missing: debian-packages.sh GROUP...
set -eu
want=
for group in "$@"; do
    case $group in
        base)  want="$want openssh-client" ;;
        venv)  want="$want python3-venv" ;;
        sshd)  want="$want openssh-client openssh-server" ;;
        test)  want="$want postgresql openssl strace wrk faketime nginx-light haproxy chromium" ;;
        watch) want="$want prometheus" ;;
        storms) want="$want slowhttptest gcc libc6-dev" ;;
        packages) want="$want rpm" ;;
        hosts) want="$want rpm checkpolicy semodule-utils selinux-policy-dev systemd" ;;
        bench) want="$want wrk postgresql curl openssl" ;;
        *) echo "unknown group of packages: $group" >&2; exit 2 ;;
    esac
done
missing=
for package in $want; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else
    echo "missing Debian packages:$missing" >&2
    echo "ask an administrator for: apt-get install$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing ..."
export DEBIAN_FRONTEND=noninteractive
# A policy of 101 keeps maintainer scripts from starting daemons: we want the programs, not the services.
policy=/usr/sbin/policy-rc.d
if [ -n "$as_root" ] || [ -e $policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; fi
trap '[ -z "$policy" ] || rm -f "$policy"' EXIT
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of names
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
