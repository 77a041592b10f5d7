# After the files are there, at an installation and at an upgrade: the user, the directories, the byte code, the daemon.
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers /usr/lib/sysusers.d/tms-host.conf || :
fi
getent group tms-host >/dev/null || groupadd --system tms-host
getent passwd tms-host >/dev/null || useradd --system --gid tms-host --home-dir /var/lib/tms-host --no-create-home \
    --shell /usr/sbin/nologin --comment "TMS-CA on this host" tms-host
install -d -m 0755 -o tms-host -g tms-host /var/lib/tms-host /run/tms-host
# Forced: the files of two versions may have the same time and size, which is all that Python compares.
/usr/bin/python3 -I -S -m compileall -q -f /usr/lib/tms-host || echo "tms-host: no byte code; logins take longer" >&2
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart tms-hostd.service || :
fi
