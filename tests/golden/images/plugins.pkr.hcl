# For Packer 1.7 and later: packer init .
# Older ones have the qemu builder built in, and do not know this block: packer build image.pkr.hcl
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0.0"
    }
  }
}
