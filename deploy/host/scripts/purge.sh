# What the join made, when nothing of us shall stay. The user stays, so that its number is never given to another.
rm -f /etc/tms/host.conf /etc/tms/token /etc/tms/service-ca.pem
rm -rf /run/tms-host
reload_sshd() {
    /usr/sbin/sshd -t || return 1
    if [ -d /run/systemd/system ]; then
        systemctl reload ssh.service 2>/dev/null || systemctl reload sshd.service
    elif [ -s /run/sshd.pid ]; then
        kill -HUP "$(cat /run/sshd.pid)"
    fi
}
# The file that the join wrote, known by its first line.
stay=
if head -n 1 /etc/ssh/sshd_config.d/50-tms.conf 2>/dev/null | grep -q TMS-CA; then
    rm -f /etc/ssh/sshd_config.d/50-tms.conf
    reload_sshd || stay=yes
fi
! grep -qs '^[^#]*/var/lib/tms-host/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* || stay=yes
if [ -n "$stay" ]; then
    # Without the file of RevokedKeys sshd refuses every key: an administrator would be locked out.
    find /var/lib/tms-host -mindepth 1 ! -name krl ! -name user_ca.pub ! -name host-certs ! -path '*/host-certs/*' \
        -delete 2>/dev/null || :
    chown -Rh root:root /var/lib/tms-host 2>/dev/null || :
    echo "tms-host: sshd still uses files in /var/lib/tms-host, so they stay: take the lines that name them out of" >&2
    echo "tms-host: sshd_config, reload sshd, then remove the directory" >&2
else
    rm -rf /var/lib/tms-host
fi
rmdir /etc/tms 2>/dev/null || :
