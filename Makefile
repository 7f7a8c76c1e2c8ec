# `make` lists what there is.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

# What the tests run for real, and protoc, which the clients of etcd and of container runtimes are built with.
PACKAGES := binutils bird2 buildah busybox-static containerd containernetworking-plugins etcd-client etcd-server iproute2 iptables \
	podman procps protobuf-compiler python3-venv qemu-system-x86 runc systemd util-linux $(if $(shell command -v kubectl),,kubernetes-client)

MINUTES ?= 10

.PHONY: help demo build deps test torture lint ci bench image deb openapi clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '%-16s%s\n' "$$name" "$$what"; done

demo: ## Show the whole system on this machine, in namespaces of its own; needs only Rust, no root
	$(CARGO) build --locked --profile demo --no-default-features -p coil -p coil-controller -p coilctl -p coil-demo
	@echo
	@"$(TARGET)/demo/demo"

build: ## Build the four programs into target/release/
	$(CARGO) build --locked --release -p coil
	$(CARGO) build --locked --release -p coild -p coil-controller -p coilctl

deps: ## Install what the tests need and is missing (Debian, Ubuntu)
	@scripts/install-missing $(PACKAGES)
	@scripts/install-python "$(TARGET)/python"
	@scripts/unpack-kernel "$(TARGET)/guest-kernel"

test: deps ## Run all tests, with real etcd, containerd, podman and network namespaces (root, or sudo)
	$(CARGO) build --locked --workspace --bins
	scripts/as-root $(CARGO) test --locked --workspace
	@echo "All tests passed."

# About a quarter of the time is for the model, the simulation and the fuzz targets.
torture: SHARE = awk -v minutes='$(MINUTES)' 'BEGIN { print $(1) }'
torture: deps ## Try to break the invariants for MINUTES=10, with another SEED each time (root, or sudo)
	$(CARGO) build --locked --workspace --bins
	COIL_MODEL_DEPTH=$$($(call SHARE,9 + (minutes >= 10) + (minutes >= 60))) \
	COIL_SEED=$(or $(SEED),$$(date +%s)) COIL_SEEDS=$$($(call SHARE,1 + int(15 * minutes))) \
	COIL_FUZZ_CASES=$$($(call SHARE,50 + int(200 * minutes))) \
		$(CARGO) test --locked -p coil-verify -- --nocapture
	COIL_TEST_BINARIES="$(TARGET)/debug" $(if $(filter 0,$(shell id -u)),,sudo -E) "$(TARGET)/debug/torture" \
		--minutes $$($(call SHARE,0.75 * minutes)) $(if $(SEED),--seed $(SEED))

lint: deps ## Check format, lints, documentation and the links in it
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(CARGO) test --locked --workspace --test docs

ci: lint test ## What the continuous integration runs

bench: deps build ## Measure speed and size against rivals, in one run
	scripts/as-root $(CARGO) run --locked --release -p coil-bench

image: deps build ## Build the OCI image target/coil-image.tar
	scripts/build-image "$(TARGET)/release" "$(TARGET)/coil-image.tar"

deb: build ## Build the Debian package in target/deb/
	scripts/build-deb "$(TARGET)/release" "$(TARGET)/deb"

openapi: ## Write docs/api/openapi.json anew, after a change of the controller's API
	COIL_UPDATE_OPENAPI=1 $(CARGO) test --locked -p coil-controller --test api the_file_is_what_is_served

clean: ## Remove everything that was built
	$(CARGO) clean
