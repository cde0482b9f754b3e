# Build, deploy and test the pod. docs/deploy.md goes through it step by step.

# The worker node's interface; the pod's macvlan0 is a macvlan on it.
MACVLAN_MASTER ?= eth0
# The VLAN the pod makes on macvlan0.
VLAN_ID ?= 123
# Its address there, with the length of the network's prefix.
IP_ADDRESS ?= 192.168.123.150/24
# Where it runs: openshift, kubernetes, several-vlans (a directory of deploy/overlays).
OVERLAY ?= openshift
# What the cluster pulls.
IMAGE ?= localhost/dataplane:latest

PODMAN ?= podman
KUBECTL ?= $(shell command -v oc || command -v kubectl)
CARGO ?= cargo
TARGET ?= $(shell uname -m)-unknown-linux-gnu
OUT := $(or $(CARGO_TARGET_DIR),target)
SHIP := $(OUT)/image
PROGRAM := $(OUT)/$(TARGET)/ship/dataplane
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
export MACVLAN_MASTER VLAN_ID IP_ADDRESS IMAGE

.PHONY: help kustomize deploy undeploy program rootfs image deb site sbom semver
.PHONY: test-deploy test-package test-kernel test-install test-docs test-site test-loom miri fuzz-campaign
help:
	@echo 'make kustomize | deploy | undeploy   MACVLAN_MASTER=eth0 VLAN_ID=123 \'
	@echo '                                     IP_ADDRESS=192.168.123.150/24 OVERLAY=openshift IMAGE=...'
	@echo 'make image          the container image, by podman (no registry is asked)'
	@echo 'make rootfs         the same as an archive, without a container tool'
	@echo 'make deb            a Debian package, by cargo deb'
	@echo 'make site           the documentation as a site, by mdbook and graphviz'
	@echo 'make sbom           what the program is made of (CycloneDX), by cargo cyclonedx'
	@echo 'make fuzz-campaign  RUNS=1000000 of each fuzz target, and a table of them, by cargo fuzz'
	@echo 'make semver         what a release would break, by cargo semver-checks'
	@echo 'make test-loom      models of what threads share, in every order'
	@echo 'make miri           the pure parts under Miri (a nightly toolchain with miri)'
	@echo 'As root, each on its own or by .ci/run:'
	@echo 'make test-deploy    the image and the manifests in real containers'
	@echo 'make test-package   the Debian package under a systemd of its own'
	@echo "make test-kernel    rings, wiring and server on the distribution's kernel, emulated"
	@echo 'make test-install   cargo install, and the demo of what it installed'
	@echo 'make test-docs      every command of the documentation'
	@echo 'make test-site      the site in a browser, and its links'

# Print the manifests.
kustomize:
	@deploy/render.sh $(OVERLAY)

deploy:
	deploy/render.sh $(OVERLAY) | $(KUBECTL) apply -f -

undeploy:
	deploy/render.sh $(OVERLAY) | $(KUBECTL) delete --ignore-not-found -f -

# One static file: a glibc program that is position independent and needs no loader.
program:
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --profile ship \
	    --target $(TARGET) -p dataplane-runtime --bin dataplane --no-default-features

rootfs: program
	deploy/rootfs.sh $(PROGRAM) $(SHIP)/rootfs.tar

image: rootfs
	$(PODMAN) build --file deploy/Containerfile --tag $(IMAGE) --pull=never \
	    --timestamp $(SOURCE_DATE_EPOCH) \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
	    --build-arg CREATED=$$(date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ) $(SHIP)

# The same program, with its man pages and completions, which it prints itself.
deb: program
	rm -rf deploy/deb && mkdir -p deploy/deb/man
	$(PROGRAM) man > deploy/deb/man/dataplane.1
	set -e; for command in serve check ctl ready open-sockets completions man; do \
	    $(PROGRAM) man $$command > deploy/deb/man/dataplane-$$command.1; done
	$(PROGRAM) completions bash > deploy/deb/dataplane.bash
	$(PROGRAM) completions zsh > deploy/deb/_dataplane
	$(PROGRAM) completions fish > deploy/deb/dataplane.fish
	$(CARGO) deb -p dataplane-runtime --no-build --no-strip --profile ship --target $(TARGET)

site:
	docs/build.py $(OUT)/site

# One JSON file: the crates of the program, versions, licences and checksums, those of the demo
# included, which the image is built without.
sbom:
	$(CARGO) cyclonedx --manifest-path runtime/Cargo.toml --format json --target $(TARGET) \
	    --no-build-deps --override-filename dataplane.cdx
	mkdir -p $(SHIP)
	mv runtime/dataplane.cdx.json $(SHIP)/dataplane.cdx.json
	rm -f */dataplane.cdx.json
	@echo $(SHIP)/dataplane.cdx.json

# Compares with the last release on crates.io, or with BASELINE, a tag: there is none before the
# first release.
semver:
	$(CARGO) semver-checks --workspace --exclude dataplane-benches --exclude dataplane-examples \
	    $(if $(BASELINE),--baseline-rev $(BASELINE))

test-deploy:
	deploy/test.sh

test-package:
	deploy/test-package.sh

test-kernel:
	deploy/test-kernel.sh

# The installed program builds its own network, serves there, and asks itself.
test-install:
	set -e; root=$$(mktemp -d); trap 'rm -rf '$$root EXIT; \
	$(CARGO) install --quiet --locked --debug --path runtime --root $$root; \
	$$root/bin/dataplane demo

test-docs:
	docs/test.py

test-site: site
	docs/test-site.py $(OUT)/site $(OUT)/site-shots

# What threads share, as loom has it: every order that the memory model allows, with at most three
# preemptions. One crate at a time: the feature is for a crate's own unit tests.
test-loom:
	set -e; for crate in ipstack http-static runtime; do \
	    LOOM_MAX_PREEMPTIONS=3 $(CARGO) test --locked --lib -p dataplane-$$crate \
	        --features loom every_order::; done

# The rings against the fake kernel, frames, graph and VLANs. Tests that read files, open sockets
# or take minutes say so (`cfg_attr(miri, ignore)`).
MIRI = MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=$(OUT)/miri \
    $(CARGO) +nightly miri test --locked --lib
miri:
	$(MIRI) -p dataplane-af-packet -p dataplane -p dataplane-vlan

# Each target until RUNS executions or SECONDS are over, two at a time.
fuzz-campaign:
	fuzz/campaign.py run --runs $(or $(RUNS),1000000) --seconds $(or $(SECONDS),0) \
	    --jobs $(or $(JOBS),2)
