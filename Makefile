# container-vtpm. `make demo` and `make test` do all of their own set-up on Debian 12 with a Swift toolchain, as root.
SHELL := /bin/bash
.DEFAULT_GOAL := build

PREFIX     ?= /usr
LIBEXECDIR ?= $(PREFIX)/libexec/container-vtpm
BINDIR     ?= $(PREFIX)/bin
DATADIR    ?= $(PREFIX)/share/container-vtpm
APPARMORDIR ?= /etc/apparmor.d
# Where engines and the host look; an empty one leaves its file out.
OCIHOOKSDIR ?= $(PREFIX)/share/containers/oci/hooks.d
CDIDIR      ?= /etc/cdi
MODULESDIR  ?= $(PREFIX)/lib/modules-load.d
UNITSDIR    ?= $(PREFIX)/lib/systemd/system
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
MANDIR      ?= $(PREFIX)/share/man
# Where the shells look for completions.
COMPLETIONS := bash:bash-completion/completions/vtpmctl zsh:zsh/vendor-completions/_vtpmctl \
    fish:fish/vendor_completions.d/vtpmctl.fish
# The program that prints them: another one than the installed one where that is for another processor.
VTPMCTL     ?= .build/release/vtpmctl
DESTDIR    ?=
# They are packaging/build-resident's alone.
unexport CONTAINER_VTPM_RESIDENT CONTAINER_VTPM_NETTLE CONTAINER_VTPM_EMBEDDED

# Like the Swift library: its symbols take the loader longer than all others of a program together.
STATIC   := .build/static
RELEASE  := -c release --static-swift-stdlib -Xlinker -L$(STATIC)
# The folder of the tree is not in the programs: neither its name, nor what the compiler derives from it, which is what tells a
# debugger of the sources, and a digest of each module for builds that begin with an earlier one. The build ID is made of all.
RELEASE  += -Xswiftc -file-prefix-map -Xswiftc '$(CURDIR)=.' -Xswiftc -gnone \
    -Xswiftc -Xfrontend -Xswiftc -disable-incremental-llvm-codegen
# The loader would look for each library beside the program first, where none is.
RELEASE  += --disable-local-rpath
# What lives as long as a container is built once more, as small as it can be: as Embedded Swift, and the supervisor with nettle
# in place of libcrypto. LIBCRYPTO_SUPERVISOR=1 keeps libcrypto in it.
RESIDENT := vtpm-supervisor vtpm-worker
SMALL    := .build/resident
STAGE    := .build/stage
PACKAGES := .build/packages
PROGRAMS := vtpm-ca vtpm-hook vtpm-run vtpm-runtime vtpm-supervisor vtpm-systemd vtpm-worker
# A profile would take inherited files and the parent-death signal away from what these two become.
PROFILES := $(filter-out vtpm-run vtpm-runtime,$(PROGRAMS)) vtpmctl

.PHONY: build install deb format lint unit guest test newest soak bench fuzz demo clean dependencies stage

## Builds the programs.
build:
	@mkdir -p $(STATIC)
	@archive=$$(clang -print-file-name=libstdc++.a) && [[ -f $$archive ]] && ln -sf "$$archive" $(STATIC)/ || \
	    { echo "make: cannot find libstdc++.a: apt-get install libstdc++-12-dev" >&2; exit 1; }
	swift build $(RELEASE)
	@LIBCRYPTO_SUPERVISOR=$(LIBCRYPTO_SUPERVISOR) packaging/build-resident $(SMALL) $(RELEASE)

## Installs the programs, stripped, the hook configurations, a sample of our own, the manual pages, the shells' completions and
## the AppArmor profiles, below DESTDIR.
## The hooks of podman and CRI-O, and the CDI device, also go where engines look for them: they are for containers that ask
## for a TPM, by an annotation or by the device's name, and for no others. Without DESTDIR the profiles are put into force as
## well, where the host has AppArmor. vtpmctl starts the worker that is beside it, and what is in BINDIR under its name is a link
## to vtpm-run, which becomes vtpmctl for all but `run`: whatever LIBEXECDIR is, they are found. What the supervisor's profile allows
## follows from the program that is there, and not from what this call of make was told.
install:
	install -d $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(DATADIR)/hooks
	for program in $(patsubst %,.build/release/%,$(filter-out $(RESIDENT),$(PROGRAMS)) vtpmctl) \
	        $(RESIDENT:%=$(SMALL)/release/%); do \
	    install -s -m 0755 $$program $(DESTDIR)$(LIBEXECDIR)/ || exit 1; done
	ln -s -f -r $(DESTDIR)$(LIBEXECDIR)/vtpm-run $(DESTDIR)$(BINDIR)/vtpmctl
	install -m 0644 hooks/merge.jq $(DESTDIR)$(DATADIR)/hooks/
	for file in hooks/*.json hooks/*/*.json; do \
	    sed -e 's|/usr/libexec/container-vtpm|$(LIBEXECDIR)|' $$file | \
	        install -D -m 0644 /dev/stdin $(DESTDIR)$(DATADIR)/$$file || exit 1; done
	install -D -m 0644 -t $(DESTDIR)$(DATADIR)/hooks/kubernetes hooks/kubernetes/*.yaml
	install -D -m 0755 -t $(DESTDIR)$(DATADIR)/hooks/edge hooks/edge/*
	install -D -m 0755 -t $(DESTDIR)$(DATADIR)/hooks/signer hooks/signer/*
	install -m 0644 hooks/config.toml $(DESTDIR)$(DATADIR)/
	install -D -m 0644 -t $(DESTDIR)$(DATADIR)/grafana packaging/grafana/*.json
	$(if $(OCIHOOKSDIR),install -D -m 0644 -t $(DESTDIR)$(OCIHOOKSDIR) $(DESTDIR)$(DATADIR)/hooks/hooks.d/*.json)
	$(if $(CDIDIR),install -D -m 0644 -t $(DESTDIR)$(CDIDIR) $(DESTDIR)$(DATADIR)/hooks/cdi/*.json)
	$(if $(MODULESDIR),echo tpm_vtpm_proxy | install -D -m 0644 /dev/stdin $(DESTDIR)$(MODULESDIR)/container-vtpm.conf)
	$(if $(UNITSDIR),for unit in $(notdir $(wildcard packaging/systemd/*)); do \
	    sed -e 's|/usr/libexec/container-vtpm|$(LIBEXECDIR)|' packaging/systemd/$$unit | \
	        install -D -m 0644 /dev/stdin $(DESTDIR)$(UNITSDIR)/$$unit || exit 1; done)
	$(if $(TMPFILESDIR),install -D -m 0644 packaging/tmpfiles.conf $(DESTDIR)$(TMPFILESDIR)/container-vtpm.conf)
	for page in docs/man/*.[578]; do \
	    sed -e 's|/usr/libexec/container-vtpm|$(LIBEXECDIR)|' $$page | install -D -m 0644 /dev/stdin \
	        $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done
	set -o pipefail; for completion in $(COMPLETIONS); do \
	    $(VTPMCTL) --generate-completion-script $${completion%%:*} | install -D -m 0644 /dev/stdin \
	        $(DESTDIR)$(PREFIX)/share/$${completion#*:} || exit 1; done
	install -d $(DESTDIR)$(APPARMORDIR)/abstractions/container-vtpm $(DESTDIR)$(APPARMORDIR)/tunables
	install -m 0644 $(PROFILES:%=AppArmor/%) $(DESTDIR)$(APPARMORDIR)/
	if readelf --dynamic $(SMALL)/release/vtpm-supervisor | grep --quiet libcrypto; then \
	    sed -i 's|^  include <abstractions/container-vtpm/host>|&\n  include <abstractions/container-vtpm/libcrypto>|' \
	        $(DESTDIR)$(APPARMORDIR)/vtpm-supervisor; fi
	install -m 0644 AppArmor/abstractions/container-vtpm/* $(DESTDIR)$(APPARMORDIR)/abstractions/container-vtpm/
	sed 's|/usr/libexec/container-vtpm|$(LIBEXECDIR)|' AppArmor/tunables/container-vtpm \
	    >$(DESTDIR)$(APPARMORDIR)/tunables/container-vtpm
	chmod 0644 $(DESTDIR)$(APPARMORDIR)/tunables/container-vtpm
	$(if $(DESTDIR),,AppArmor/load $(PROFILES:%=$(APPARMORDIR)/%))

## Makes a Debian package and prints its path: what `make install` installs with its defaults. docs/operations.md
deb: build
	@rm -rf $(PACKAGES)
	@$(MAKE) --no-print-directory --silent install DESTDIR=$(PACKAGES)/tree
	@packaging/deb --tree $(PACKAGES)/tree --output $(PACKAGES)

## Formats all Swift code.
format:
	swift format --in-place --parallel --recursive Package.swift Sources Tests Bench

lint:
	swift format lint --strict --parallel --recursive Package.swift Sources Tests Bench

## The tests that need no kernel module.
unit:
	swift test

# What a fresh Debian 12 with a Swift toolchain lacks.
dependencies:
	@Tests/dependencies

stage: dependencies
	@$(MAKE) --no-print-directory build
	@rm -rf $(STAGE)
	@$(MAKE) --no-print-directory --silent install DESTDIR=$(STAGE)
	@install -D -s -m 0755 .build/release/HostileWorker $(STAGE)/fixtures/hostile-worker
	@packaging/deb --tree $(STAGE) --output $(STAGE)/packages --compress none >/dev/null

## The cases that need a real kernel with /dev/vtpmx, in a virtual machine where the host has none.
guest: stage
	@Tests/Guest/prepare
	@Tests/Guest/run --programs $(STAGE)

## Everything that a change must pass.
test: stage
	@Tests/all $(STAGE)

## What hosts will be: the cases for a host with systemd on Debian's sid, and on one with SELinux.
newest: stage
	@Tests/newest $(STAGE)

## Power failures, disk errors, damaged files and kills in great numbers: it takes an hour or so.
soak: stage
	@Tests/soak $(STAGE)

## Speed and size beside swtpm's and an earlier commit's, natively and in a guest; fails when a bound does not hold.
## docs/performance.md
bench: stage
	@Bench/run --programs $(STAGE)

## libFuzzer over everything that parses what others wrote, FUZZ_SECONDS (60) for each; one alone: Tests/Fuzz/run worker.
fuzz: dependencies
	@Tests/Fuzz/run

## The main job, shown.
demo: stage
	@Tests/Guest/prepare
	@Tests/Guest/run --programs $(STAGE) --script Tests/Guest/demo

clean:
	rm -rf .build
