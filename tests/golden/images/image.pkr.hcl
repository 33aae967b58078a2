# Rendered from recipe cloud-gpu-worker by: ai-how image packer cloud-gpu-worker
variable "accelerator" {
  type    = string
  default = "kvm"
}

variable "output" {
  type    = string
  default = "output"
}

variable "compress" {
  type    = bool
  default = true
}

source "qemu" "image" {
  accelerator          = var.accelerator
  disk_image           = true
  iso_url              = "/images/a \"b\"/disk.qcow2"
  iso_checksum         = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  disk_size            = "10G"
  disk_interface       = "virtio"
  format               = "qcow2"
  disk_compression     = var.compress
  skip_compaction      = !var.compress
  machine_type         = "q35"
  cpus                 = 2
  memory               = 2048
  headless             = true
  qemuargs = [
    ["-cdrom", "seed.iso"],
    ["-display", "none"],
    # Packer's own would be reached from the whole network
    ["-netdev", "user,id=build,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
    ["-device", "virtio-net,netdev=build"],
  ]
  ssh_username         = "packer"
  ssh_private_key_file = "login"
  ssh_timeout          = "15m"
  shutdown_command     = "sudo sh -c 'userdel --force --remove packer; rm -f /etc/sudoers.d/90-cloud-init-users; systemctl poweroff'"
  shutdown_timeout     = "10m"
  output_directory     = var.output
  vm_name              = "cloud-gpu-worker-DIGEST.qcow2"
}

build {
  sources = ["source.qemu.image"]

  provisioner "shell" {
    inline = [
      "set -e",
      "packages=\"apparmor apt-transport-https bash-completion ca-certificates cloud-guest-utils cloud-init conntrack curl dbus e2fsprogs ebtables ethtool firmware-nvidia-gsp gdisk gnupg iproute2 ipset iptables iputils-ping ipvsadm kmod libcuda1 libnvidia-nvvm4 libnvidia-ptxjitcompiler1 libseccomp2 linux-headers-amd64 linux-image-amd64 locales-all netplan.io nfs-common nftables nvidia-cuda-mps nvidia-kernel-dkms nvidia-modprobe nvidia-persistenced nvidia-smi open-iscsi openssh-server openssl pciutils python3 python3-apt qemu-guest-agent rsync socat sudo systemd-resolved systemd-sysv systemd-timesyncd tar tzdata udev unzip xfsprogs zstd\"",
      "dpkg-query --show $packages >/dev/null 2>&1 && exit 0",
      "sudo find /etc/apt -name '*.list' -o -name '*.sources' | xargs sudo sed -E -i 's/^(deb .*) main.*$/\\1 main contrib non-free non-free-firmware/; s/^Components: *main.*$/Components: main contrib non-free non-free-firmware/'",
      "sudo apt-get update",
      "sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $packages",
    ]
  }
  provisioner "file" {
    source      = "provision.sh"
    destination = "/tmp/provision.sh"
  }
  provisioner "shell" {
    inline = [
      "sudo env KUBERNETES_NODE=yes NVIDIA_DRIVER=yes sh /tmp/provision.sh",
      "rm /tmp/provision.sh",
    ]
  }
  provisioner "file" {
    direction   = "download"
    source      = "/etc/ai-how-image"
    destination = "facts"
  }
  provisioner "file" {
    direction   = "download"
    source      = "/var/lib/dpkg/status"
    destination = "status"
  }
}
