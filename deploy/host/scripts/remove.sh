# Before the files are removed for good: not while a line would then end every login, whatever the key.
ends_logins=$(
    grep -Hns '^[^#]*/usr/libexec/tms/' /etc/pam.d/* || :
    grep -Hnsi '^[[:space:]]*forcecommand[^#]*/usr/libexec/tms/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* || :
)
if [ -n "$ends_logins" ]; then
    echo "tms-host: not removed: without our programs these lines let nobody log in, whatever the key:" >&2
    printf '%s\n' "$ends_logins" | sed 's/^/tms-host:     /' >&2
    echo "tms-host: take them out, \`sshd -t\`, reload sshd, then remove the package again" >&2
    exit 1
fi
if command -v systemctl >/dev/null 2>&1; then
    [ ! -d /run/systemd/system ] || systemctl stop tms-hostd.service || :
    systemctl disable tms-hostd.service >/dev/null 2>&1 || :
fi
if grep -qs '^[^#]*/usr/libexec/tms/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; then
    echo "tms-host: sshd is still told to ask TMS-CA, and refuses its certificates from now on." >&2
    echo "tms-host: files to look at: $(grep -ls '^[^#]*/usr/libexec/tms/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* |
        tr '\n' ' ')" >&2
fi
