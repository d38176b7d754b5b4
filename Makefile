# SPDX-License-Identifier: Apache-2.0
# What a person types.  Each target sets up what it needs (scripts/setup); the build itself is in
# meson.build, which also works alone: meson setup build && ninja -C build

BURST_SECONDS ?= 15
PEERS_ROUNDS ?= 7
NIXL_VERSION = 1.5.1

SANITIZED = unit conform scenario fault
PURE = util wire layout core pool

help:
	@echo 'make build          build build/baton, libbaton and the tests'
	@echo 'make burst          run the main job for $(BURST_SECONDS) s on shm and as long on tcp'
	@echo 'make test           build with gcc and run every test'
	@echo 'make test-sanitize  build with clang and run the tests under ASan, UBSan and TSan'
	@echo 'make test-nixl      the faults over NIXL, on all lanes and many times'
	@echo 'make test-valgrind  run the unit tests of the pure code under valgrind'
	@echo 'make test-python    build the Python package and run its tests alone'
	@echo 'make check-instructions  count what fixed scenarios execute; UPDATE=--update accepts'
	@echo 'make bench          measure, next to baselines of the same run'
	@echo 'make burst-nixl     the main job over NIXL, pulled and pushed'
	@echo 'make bench-nixl     measure that next to NIXL itself, in turns'
	@echo 'make bench-peers    the same workload through NIXL, Mooncake, UCX and ZeroMQ, in turns'
	@echo 'make bench-scale    handoffs in flight, links, blocks: see what grows, and how'
	@echo 'make sim            run the simulator for 2 minutes'
	@echo 'make campaign       run a million seeds of it'
	@echo 'make mutants        build bugs in, and see that the checkers find each'
	@echo 'make coverage       see which branches of core, pool and wire the tests reach'
	@echo 'make clean          remove what was built'

build: build/build.ninja
	ninja -C build

burst: build
	build/baton burst --transport shm --duration $(BURST_SECONDS)
	build/baton burst --transport tcp --duration $(BURST_SECONDS)

# With NIXL, and the Python package, where these can be had.
test: build
	@scripts/with-nixl scripts/with-python scripts/run-tests build

# The thread sanitizer of gcc does not accept fences, clang's does.
test-sanitize: build-asan/build.ninja build-tsan/build.ninja
	ninja -C build-asan
	ninja -C build-tsan
	@UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
		scripts/run-tests --same-addresses --slowness 5 $(SANITIZED:%=--suite %) build-asan build-tsan

test-nixl: build
	@BATON_NIXL_ALL=1 BATON_DIES=20 scripts/with-nixl scripts/run-tests --suite nixl --slowness 10 build

test-valgrind: setup-valgrind build
	@scripts/run-tests --slowness 30 $(PURE:%=--suite %) build \
		--wrapper 'valgrind -q --error-exitcode=99 --leak-check=full --child-silent-after-fork=yes'

test-python: setup-build
	@scripts/with-python scripts/test-python

check-instructions: setup-valgrind build
	@scripts/check-instructions build/instructions $(UPDATE)

bench: build
	build/baton bench

burst-nixl: build
	@for mode in pull push; do \
		scripts/with-nixl build/baton burst --transport nixl --mode $$mode \
			--duration $(BURST_SECONDS) || exit; done

bench-nixl: build
	@for lanes in tcp posix shm; do for mode in pull push; do \
		scripts/with-nixl build/baton bench --transport nixl --lanes $$lanes --mode $$mode \
			--only throughput,cancel --cancel-handoffs 4 --block-bytes 64KiB,256KiB \
			|| exit; done; done

bench-peers: setup-peers build build-peers/venv/.ready build-peers/programs/build.ninja
	ninja -C build-peers/programs
	build-peers/venv/bin/python -B bench/peers/run.py --rounds $(PEERS_ROUNDS)

bench-scale: build
	build/scale --json build/scale.json

sim: build
	build/baton sim --minutes 2

campaign: build
	build/baton sim --seeds 1..1000000 --json build/campaign.json

mutants: setup-build
	scripts/check-mutants

coverage: build-coverage/build.ninja
	scripts/coverage build-coverage

clean:
	rm -rf build build-asan build-tsan build-coverage build-nixl build-peers build-python

build/build.ninja: setup-build
	@test -f $@ || CC=gcc CXX=g++ meson setup build -Dwerror=true -Dcli=enabled

build-asan/build.ninja: setup-sanitize
	@test -f $@ || CC=clang CXX=clang++ meson setup build-asan -Dwerror=true -Dcli=enabled \
		-Db_lundef=false -Db_sanitize=address,undefined -Dc_args=-fno-sanitize-recover=all

build-tsan/build.ninja: setup-sanitize
	@test -f $@ || CC=clang CXX=clang++ meson setup build-tsan -Dwerror=true -Dcli=enabled \
		-Db_lundef=false -Db_sanitize=thread

# Not optimised, so that the compiler merges no branches.
build-coverage/build.ninja: setup-build
	@test -f $@ || CC=gcc CXX=g++ meson setup build-coverage -Dwerror=true -Dcli=enabled \
		-Dbuildtype=debug -Db_coverage=true

build-peers/programs/build.ninja: setup-peers
	@test -f $@ || CC=gcc meson setup build-peers/programs bench/peers -Dwerror=true

build-peers/venv/.ready: bench/peers/requirements.txt
	rm -rf build-peers/venv
	python3 -m venv build-peers/venv
	build-peers/venv/bin/pip install -q --no-deps --disable-pip-version-check -r $<
	@touch $@

# Without its dependencies: they are gigabytes, for GPUs, and what is used here needs none of them.
build-nixl/library:
	@scripts/setup nixl
	rm -rf build-nixl/venv
	python3 -m venv build-nixl/venv
	build-nixl/venv/bin/pip install -q --no-deps --disable-pip-version-check --retries 1 \
		--timeout 20 nixl-cu13==$(NIXL_VERSION)
	build-nixl/venv/bin/python -c 'import importlib.metadata as m; print(next(f.locate() \
		for f in m.files("nixl-cu13") if f.name == "libnixl_capi.so"))' >$@.new
	@mv $@.new $@

# Its meson, ninja and cffi build the package, as pip would without the network.
build-python/venv/.ready: bindings/python/tests/requirements.txt
	@scripts/setup python
	rm -rf build-python/venv
	python3 -m venv build-python/venv
	build-python/venv/bin/pip install -q --disable-pip-version-check --retries 1 --timeout 20 -r $<
	@touch $@

setup-build setup-sanitize setup-valgrind setup-peers:
	@scripts/setup $(@:setup-%=%)

.PHONY: help build burst test test-sanitize test-valgrind bench sim campaign mutants coverage clean
.PHONY: setup-build setup-sanitize setup-valgrind setup-peers bench-peers bench-scale burst-nixl bench-nixl
.PHONY: check-instructions test-nixl test-python
.NOTPARALLEL:
