# Before the files are removed for good.
if command -v systemctl >/dev/null 2>&1; then
    [ ! -d /run/systemd/system ] || systemctl stop tms-hostd.service || :
    systemctl disable tms-hostd.service >/dev/null 2>&1 || :
fi
if grep -qs '^[^#]*/usr/libexec/tms/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; then
    echo "tms-host: sshd is still told to ask TMS-CA, and refuses its certificates from now on." >&2
    echo "tms-host: files to look at: $(grep -ls '^[^#]*/usr/libexec/tms/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* |
        tr '\n' ' ')" >&2
fi
