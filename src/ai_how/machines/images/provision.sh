#!/bin/sh
# Turns an installed Debian into a node: run as root in the image, by the native build and by Packer alike.
# Settings: NVIDIA_DRIVER=yes blacklists nouveau and loads the NVIDIA modules at boot.
set -eu

# Kubernetes' own list of modules and sysctls for a node
cat >/etc/modules-load.d/kubernetes.conf <<'X'
overlay
br_netfilter
X
cat >/etc/sysctl.d/90-kubernetes.conf <<'X'
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward = 1
vm.overcommit_memory = 1
vm.panic_on_oom = 0
kernel.panic = 10
kernel.panic_on_oops = 1
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
X

# no swap: the kubelet refuses to start with it
sed -i '/\sswap\s/d' /etc/fstab 2>/dev/null || true
systemctl mask swap.target >/dev/null 2>&1 || true

# keys only, no root, no passwords; host keys come from cloud-init, so that they can be pinned
mkdir -p /etc/ssh/sshd_config.d
cat >/etc/ssh/sshd_config.d/10-ai-how.conf <<'X'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UseDNS no
X
rm -f /etc/ssh/ssh_host_*

# seeds come on a disk only: no waiting for a metadata service that is not there
mkdir -p /etc/cloud/cloud.cfg.d
cat >/etc/cloud/cloud.cfg.d/90-ai-how.cfg <<'X'
datasource_list: [NoCloud, None]
X

# the console that the serial log records
systemctl enable serial-getty@ttyS0.service >/dev/null 2>&1 || true
for unit in ssh.service qemu-guest-agent.service systemd-networkd.service systemd-resolved.service; do
    systemctl enable "$unit" >/dev/null 2>&1 || true
done
# nothing starts an update in the middle of a node's work
systemctl mask apt-daily.timer apt-daily-upgrade.timer >/dev/null 2>&1 || true

if [ "${NVIDIA_DRIVER:-no}" = yes ]; then
    printf 'blacklist nouveau\noptions nouveau modeset=0\n' >/etc/modprobe.d/nvidia-not-nouveau.conf
    printf 'nvidia\nnvidia_uvm\n' >/etc/modules-load.d/nvidia.conf
fi

# each machine makes its own
rm -f /var/lib/dbus/machine-id
: >/etc/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/log/*.log
