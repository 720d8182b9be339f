# Every image, its platforms and labels.
#
#   python3 images/pins.py bake TARGET... > build/pins.json
#   docker buildx bake -f images/docker-bake.hcl -f build/pins.json TARGET...
#
# build/pins.json gives the variables that have no value here; without it every build
# stops at a name that cannot be resolved.

variable "VLLM_VERSION" {}
variable "CUDA" {}
# Digest of the locked patches and the plugin.
variable "PATCHES" {}
# name@sha256:... of vLLM's official image, and of Debian's.
variable "BASE" { default = "unresolved.invalid/run-make-pins" }
variable "DEBIAN" { default = "unresolved.invalid/run-make-pins" }
# Versions of Debian packages.
variable "CA_CERTIFICATES" {}
variable "LIBNUMA1" {}
variable "PYTHON" {}
# What lists the content of an image: name@sha256:..., for a release; "": no release.
variable "SCANNER" { default = "" }
# Where images go: a registry's name in front, and a tag.
variable "REPOSITORY" { default = "nvfp4-serve" }
variable "VERSION" { default = "dev" }
# The commit, and when it was made (RFC 3339).
variable "REVISION" { default = "" }
variable "CREATED" { default = "" }
# none or b12x.
variable "KERNELS" { default = "none" }
# host: a build shares this machine's network, where only that reaches its packages.
variable "NETWORK" { default = "default" }

function "labels" {
  params = [target, distribution, base, cuda]
  result = {
    "org.opencontainers.image.title"        = "nvfp4-serve ${target}"
    "org.opencontainers.image.description"  = "Serves any NVFP4 checkpoint, right."
    "org.opencontainers.image.licenses"     = "Apache-2.0"
    "org.opencontainers.image.version"      = VERSION
    "org.opencontainers.image.revision"     = REVISION
    "org.opencontainers.image.created"      = CREATED
    "org.opencontainers.image.base.name"    = split("@", base)[0]
    "org.opencontainers.image.base.digest"  = length(split("@", base)) == 2 ? split("@", base)[1] : ""
    "org.nvfp4-serve.target"                = target
    "org.nvfp4-serve.engine"                = "${distribution}==${VLLM_VERSION}"
    "org.nvfp4-serve.patches"               = PATCHES
    "org.nvfp4-serve.manifest"              = "/opt/nvfp4-serve/manifest.json"
    # What the words of `vllm serve` follow, where a plan is there already.
    "org.nvfp4-serve.serve"                 = jsonencode(["/usr/local/bin/nvfp4-serve-engine"])
    "com.nvidia.cuda.toolkit"               = cuda
  }
}

group "default" {
  targets = ["cpu", "base", "gb10", "b300", "gb300", "rtx-pro"]
}

group "gpu" {
  targets = ["base", "gb10", "b300", "gb300", "rtx-pro"]
}

target "_common" {
  context = "."
  network = NETWORK
  attest = SCANNER == "" ? [] : [
    "type=provenance,mode=max",
    "type=sbom,generator=${SCANNER}",
  ]
}

target "_gpu" {
  inherits = ["_common"]
  # Before `base` is there the name leads nowhere; see the Dockerfiles.
  contexts = { "unresolved.invalid/bake-builds-base-first" = "target:base" }
}

target "cpu" {
  inherits   = ["_common"]
  dockerfile = "images/cpu.Dockerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
  args = {
    DEBIAN          = DEBIAN
    CA_CERTIFICATES = CA_CERTIFICATES
    LIBNUMA1        = LIBNUMA1
    PYTHON          = PYTHON
  }
  labels = labels("cpu", "vllm-cpu", DEBIAN, "")
  tags   = ["${REPOSITORY}:${VERSION}-cpu"]
}

target "base" {
  inherits   = ["_common"]
  dockerfile = "images/base.Dockerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
  args = {
    BASE = BASE
    CUDA = CUDA
  }
  labels = labels("base", "vllm", BASE, CUDA)
  tags   = ["${REPOSITORY}:${VERSION}-base"]
}

target "gb10" {
  inherits   = ["_gpu"]
  dockerfile = "images/gb10.Dockerfile"
  platforms  = ["linux/arm64"]
  args       = { KERNELS = KERNELS }
  labels     = labels("gb10", "vllm", BASE, CUDA)
  tags       = ["${REPOSITORY}:${VERSION}-gb10"]
}

target "b300" {
  inherits   = ["_gpu"]
  dockerfile = "images/b300.Dockerfile"
  platforms  = ["linux/amd64"]
  args       = { TARGET = "b300" }
  labels     = labels("b300", "vllm", BASE, CUDA)
  tags       = ["${REPOSITORY}:${VERSION}-b300"]
}

target "gb300" {
  inherits   = ["_gpu"]
  dockerfile = "images/b300.Dockerfile"
  platforms  = ["linux/arm64"]
  args       = { TARGET = "gb300" }
  labels     = labels("gb300", "vllm", BASE, CUDA)
  tags       = ["${REPOSITORY}:${VERSION}-gb300"]
}

target "rtx-pro" {
  inherits   = ["_gpu"]
  dockerfile = "images/rtx-pro.Dockerfile"
  platforms  = ["linux/amd64"]
  args       = { KERNELS = KERNELS }
  labels     = labels("rtx-pro", "vllm", BASE, CUDA)
  tags       = ["${REPOSITORY}:${VERSION}-rtx-pro"]
}
