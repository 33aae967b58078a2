#!/bin/sh
# Turns an installed Debian into a machine: run as root in the image, by the native build and by Packer alike.
# Settings, each off unless it is "yes":
#   KUBERNETES_NODE  modules and sysctls of a node
#   NVIDIA_DRIVER    the driver's modules, built for the kernel that is installed; the persistence daemon
#   QUICK_BOOT       leave out what only a machine that lives long needs
set -eu
# the one that boots: the link is Debian's, to the kernel that was installed last
kernel=$(basename "$(readlink -f /vmlinuz)")
kernel=${kernel#vmlinuz-}
mask() { for unit; do ln -sfn /dev/null "/etc/systemd/system/$unit"; done; }

if [ "${KUBERNETES_NODE:-no}" = yes ]; then
    # Kubernetes' own list of modules and sysctls for a node
    printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
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
fi

# no swap: the kubelet refuses to start with it
sed -i '/\sswap\s/d' /etc/fstab 2>/dev/null || true
mask swap.target

# keys only, no root, no passwords; host keys come from cloud-init, so that they can be pinned
mkdir -p /etc/ssh/sshd_config.d
cat >/etc/ssh/sshd_config.d/10-ai-how.conf <<'X'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UseDNS no
X
rm -f /etc/ssh/ssh_host_*

# Seeds come on a disk only: no waiting for a metadata service that is not there. Modules that a seed of ours never uses
# are left out: under emulation each costs seconds.
mkdir -p /etc/cloud/cloud.cfg.d
cat >/etc/cloud/cloud.cfg.d/90-ai-how.cfg <<'X'
datasource_list: [NoCloud, None]
cloud_init_modules:
  [seed_random, bootcmd, write_files, growpart, resizefs, disk_setup, mounts, set_hostname, update_hostname,
   update_etc_hosts, ca_certs, users_groups, ssh]
cloud_config_modules: [ntp, timezone, runcmd]
cloud_final_modules: [package_update_upgrade_install, write_files_deferred, scripts_per_boot, scripts_per_instance, scripts_user]
X
printf 'datasource: NoCloud\n' >/etc/cloud/ds-identify.cfg

# the initramfs holds what a virtual disk needs, and no more: it is unpacked at each boot
initramfs=/etc/initramfs-tools
udev_hook=/usr/share/initramfs-tools/hooks/udev
mkdir -p $initramfs/conf.d $initramfs/hooks $initramfs/scripts/init-top $initramfs/scripts/init-bottom
printf 'MODULES=list\n' >$initramfs/conf.d/ai-how
cat >$initramfs/hooks/ai-how <<'X'
#!/bin/sh
[ "${1:-}" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk virtio_scsi sd_mod ahci nvme ext4 crc32c_generic
X
if [ "${QUICK_BOOT:-no}" = yes ]; then
    # one driver, that of a virtio disk, loaded by its name: without the programs and the data that find out which ones
    # are needed, it is a quarter as large. initramfs-tools takes a file here for that of the same name in its own folder
    sed -i 's/^manual_add_modules .*/force_load virtio_blk/' $initramfs/hooks/ai-how
    # which else comes with them, and finds the root file system
    echo 'copy_exec /usr/sbin/blkid' >>$initramfs/hooks/ai-how
    chmod a-x $udev_hook
    printf '#!/bin/sh\nexit 0\n' >$initramfs/scripts/init-top/udev
    cat >$initramfs/scripts/init-bottom/udev <<'X'
#!/bin/sh
[ "${1:-}" = prereqs ] || mount -n -o move /dev "${rootmnt:?}/dev"
X
    chmod 755 $initramfs/scripts/init-top/udev $initramfs/scripts/init-bottom/udev
else
    # where this runs in a machine of the other kind
    chmod a+x $udev_hook
    rm -f $initramfs/scripts/init-top/udev $initramfs/scripts/init-bottom/udev
fi
chmod 755 $initramfs/hooks/ai-how

for unit in serial-getty@ttyS0.service ssh.service qemu-guest-agent.service systemd-networkd.service \
    systemd-resolved.service; do
    systemctl enable "$unit" >/dev/null 2>&1 || true
done
# nothing starts an update in the middle of a machine's work, and there are no LVM snapshots to check
mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service

# what only a machine that lives long needs; a generator is a program that finds nothing to do here
quick_units="
    getty@tty1.service systemd-pstore.service systemd-binfmt.service modprobe@drm.service
    modprobe@efi_pstore.service modprobe@configfs.service modprobe@fuse.service sys-fs-fuse-connections.mount
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount
    dev-hugepages.mount dev-mqueue.mount cloud-init-hotplugd.socket dpkg-db-backup.timer fstrim.timer
    systemd-network-generator.service systemd-udev-load-credentials.service systemd-fsck-root.service
    systemd-networkd-persistent-storage.service systemd-journal-flush.service systemd-update-utmp.service
    systemd-random-seed.service systemd-modules-load.service systemd-hibernate-clear.service
    systemd-tmpfiles-setup-dev-early.service kmod-static-nodes.service run-lock.mount tmp.mount
    systemd-hostnamed.service systemd-hostnamed.socket
"
quick_generators="debug gpt-auto hibernate-resume rc-local run ssh system-update sysv tpm2"
generators=/etc/systemd/system-generators
trigger=/etc/systemd/system/systemd-udev-trigger.service.d/quick-boot.conf
modules=/etc/modprobe.d/quick-boot.conf
grow=/etc/systemd/system/grow-root.service
if [ "${QUICK_BOOT:-no}" = yes ]; then
    mask $quick_units
    mkdir -p $generators "${trigger%/*}"
    for name in $quick_generators; do
        ln -sfn /dev/null "$generators/systemd-$name-generator"
    done
    # not every device that the kernel has is looked at, a hundred terminals and what ACPI names among them: disks,
    # networks, the agent's channel, the power button, the serial line, and what leads to them
    cat >$trigger <<'X'
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net \
    --subsystem-match=pci --subsystem-match=virtio --subsystem-match=virtio-ports --subsystem-match=scsi \
    --subsystem-match=input
ExecStart=-modprobe button
ExecStart=-udevadm trigger --action=add /sys/class/tty/ttyS0
X
    printf 'blacklist %s\n' kvm_amd kvm_intel sg serio_raw vsock_loopback >$modules
    # cloud-init's growpart asks many programs before it does what these two do; the file system is still grown by it
    sed -i 's/ growpart,//' /etc/cloud/cloud.cfg.d/90-ai-how.cfg
    cat >$grow <<'X'
[Unit]
Description=Grow the root partition to the end of its disk
DefaultDependencies=no
After=systemd-remount-fs.service
Before=cloud-init-network.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo ", +" | sfdisk --quiet --no-reread --no-tell-kernel -N 3 /dev/vda'
ExecStart=partx --update --nr 3 /dev/vda
[Install]
WantedBy=sysinit.target
X
    systemctl enable "${grow##*/}" >/dev/null 2>&1
else
    # where this runs in a machine of the quick kind
    for unit in $quick_units; do
        [ "$(readlink "/etc/systemd/system/$unit")" != /dev/null ] || rm "/etc/systemd/system/$unit"
    done
    for name in $quick_generators; do
        rm -f "$generators/systemd-$name-generator"
    done
    [ ! -f $grow ] || systemctl disable "${grow##*/}" >/dev/null 2>&1
    rm -f $trigger $modules $grow
    # the options of its kernel are the last ones of its line
    [ ! -f /boot/grub/grub.cfg ] || sed -i 's|^\( *linux[0-9]* /vmlinuz .*\) cryptomgr.notests .*|\1|' /boot/grub/grub.cfg
fi

if [ "${NVIDIA_DRIVER:-no}" = yes ]; then
    printf 'blacklist nouveau\noptions nouveau modeset=0\n' >/etc/modprobe.d/nvidia-not-nouveau.conf
    # for the kernel that is installed here, not for the one that runs
    dkms autoinstall -k "$kernel"
    driver=$(modinfo -k "$kernel" -F version nvidia-current) || {
        echo "the NVIDIA modules were not built for kernel $kernel" >&2
        tail -n 20 /var/lib/dkms/*/*/build/make.log >&2 || true
        exit 1
    }
    # the kernel loads the driver for a card that is there; its memory manager and device files come with the daemon,
    # and a machine without a card has no failed unit
    mkdir -p /etc/systemd/system/nvidia-persistenced.service.d
    cat >/etc/systemd/system/nvidia-persistenced.service.d/ai-how.conf <<'X'
[Service]
ExecCondition=/bin/sh -c 'grep -qx 0x10de /sys/bus/pci/devices/*/vendor'
ExecStartPre=-/usr/bin/nvidia-modprobe -c 0 -u
X
    systemctl enable nvidia-persistenced.service >/dev/null 2>&1 || true
    # a signing key that all machines of this image would share
    rm -f /var/lib/dkms/mok.key /var/lib/dkms/mok.pub
fi
# the native build has had none made until now, and so no link to it
update-initramfs -c -k "$kernel"
[ -e /initrd.img ] || ln -sfn "boot/initrd.img-$kernel" /initrd.img

# what was made, for the image's manifest
{
    echo "kernel=$kernel"
    [ -z "${driver:-}" ] || echo "nvidia_driver=$driver"
} >/etc/ai-how-image

# each machine makes its own; where this runs in a machine that booted, what that one was told is forgotten
rm -rf /var/lib/cloud/* /etc/netplan/50-cloud-init.yaml /etc/systemd/network/10-cloud-init-*
rm -f /var/lib/dbus/machine-id
: >/etc/machine-id
rm -rf /var/lib/apt/lists/* /var/log/*.log
find /var/cache/apt/archives -name '*.deb' -delete
# up to date: no rebuilding of caches at the first boot
touch /etc/.updated /var/.updated
