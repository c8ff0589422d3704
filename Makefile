# make demo    hear English come out as Spanish and Spanish as English, without any account
# make test    install what the tests need and run them all
# make bench   figures, into target/bench/
# make soak    the long versions of the tests
# make build   libmgw.so and the header, as they are packaged
# make shim    mgw-rtp-shim, which connects mgw to Asterisk (docs/asterisk.md)
# make module  app_mgw.so, a module for the Asterisk whose headers are installed (asterisk-module/README.md)
# make install PREFIX=/usr/local

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

.PHONY: build shim module demo test bench soak install clean

build:
	@scripts/setup.sh build
	$(CARGO) rustc --release --lib --crate-type cdylib

shim:
	@scripts/setup.sh build
	$(CARGO) build --release --features rtp-shim --bin mgw-rtp-shim

# Against the library and the header of this tree, to be found where `make install` puts them.
module: build
	$(MAKE) --no-print-directory DESTDIR="$(CURDIR)/target/stage" install
	@mkdir -p target/module
	@sed -e 's|^prefix=.*|prefix=$(CURDIR)/target/stage$(PREFIX)|; s|^libdir=.*|libdir=$(PREFIX)/lib|; s|^includedir=.*|includedir=$(CURDIR)/include|' \
		-e 's|^Libs:.*|Libs: -L$(CURDIR)/target/stage$(PREFIX)/lib -lmgw|' mgw.pc.in | sed -e 's|@VERSION@|$(VERSION)|' > target/module/mgw.pc
	$(MAKE) -C asterisk-module PKG_CONFIG_PATH="$(CURDIR)/target/module" OUT="$(CURDIR)/target/module"

demo:
	@scripts/setup.sh demo
	@echo "building (a few minutes the first time)"
	@$(CARGO) build --release --quiet --features local-cloud
	@python3 scripts/demo.py $(if $(CLOUD),--cloud) $(if $(WAV_A),--wav-a "$(WAV_A)") $(if $(WAV_B),--wav-b "$(WAV_B)")

test:
	@scripts/setup.sh test
	@scripts/test.sh

bench:
	@scripts/setup.sh bench
	$(CARGO) build --release --features local-cloud,rtp-shim --bin mgw-local-cloud --bin mgw-rtp-shim
	$(CARGO) bench --features local-cloud,rtp-shim --bench mgw

soak:
	@scripts/setup.sh test
	MGW_TEST_SENTENCES=2000 $(CARGO) test --release --features local-cloud,fault-injection --test c_example -- --nocapture
	MGW_TEST_LOAD_S=600 MGW_TEST_ATTACK_S=20 $(CARGO) test --release --features local-cloud,rtp-shim,fault-injection --test shim -- --nocapture --test-threads=1 load:: attack::
	MGW_TEST_SENTENCES=10000 $(CARGO) test --release --features local-cloud,rtp-shim,fault-injection --test outages -- --nocapture --test-threads=1
	MGW_TEST_MINUTES=60 MGW_TEST_REPORT=1 $(CARGO) test --release --features local-cloud,rtp-shim,fault-injection --test interpreting -- --nocapture
	MGW_TEST_ROUNDS=50 $(CARGO) test --release --features local-cloud,rtp-shim,fault-injection --test asterisk_module -- --nocapture --test-threads=2 --skip load:: --skip memcheck::
	MGW_TEST_LOAD_S=600 $(CARGO) test --release --features local-cloud,rtp-shim,fault-injection --test asterisk_module -- --nocapture --test-threads=1 load:: memcheck::
	scripts/fuzz.sh 300
	$(CARGO) test --release --no-default-features --features tls-openssl,local-cloud,fault-injection --test lifecycle -- --nocapture

install: build
	install -Dm755 target/release/libmgw.so "$(DESTDIR)$(PREFIX)/lib/libmgw.so.$(VERSION)"
	ln -sf "libmgw.so.$(VERSION)" "$(DESTDIR)$(PREFIX)/lib/libmgw.so.0"
	ln -sf libmgw.so.0 "$(DESTDIR)$(PREFIX)/lib/libmgw.so"
	install -Dm644 include/mgw.h "$(DESTDIR)$(PREFIX)/include/mgw.h"
	install -d "$(DESTDIR)$(PREFIX)/lib/pkgconfig"
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(PREFIX)/lib|; s|@INCLUDEDIR@|$(PREFIX)/include|; s|@VERSION@|$(VERSION)|' \
		mgw.pc.in > "$(DESTDIR)$(PREFIX)/lib/pkgconfig/mgw.pc"

clean:
	$(CARGO) clean
