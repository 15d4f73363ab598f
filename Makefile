# make env    .venv with every library and tool      make lint   ruff, import-linter
# make build  the messages, .venv/bin/km3d(_node)    make test   pytest; TESTS=folder for some
# make demo   a drive through the node, out/demo/    make bench  every benchmark
# make clean  back to a fresh checkout
#
# make test-jazzy   the ROS tests with Jazzy's rclpy, in .venv-jazzy (Python 3.12)
# make test-oldest  the other tests with the oldest libraries that we support, in .venv-oldest
#                   (Python 3.10), and the node's tests with subscriptions as on Humble
#
# ROS 2 comes from the sourced distribution, or from PyPI's wheels where none is sourced. In both
# cases the build installs into .venv, which thus is a ROS prefix of its own.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build
.PHONY: env build demo test test-jazzy test-oldest lint bench clean

VENV := $(CURDIR)/.venv
PYTHON := $(VENV)/bin/python
ROS := $(or $(ROS_DISTRO),wheels)
ENV_DONE := $(VENV)/.env-done-$(ROS)
OTHER_ROS := $(patsubst $(VENV)/.env-done-%,%,$(filter-out $(ENV_DONE),$(wildcard $(VENV)/.env-done-*)))
BUILD_DONE := $(VENV)/.build-done

OURS := <(sed '1,/^\# Not part of any ROS/d' requirements.txt)
ifeq ($(ROS),wheels)
REQUIREMENTS := requirements.txt
else ifeq ($(ROS),jazzy-wheels)
REQUIREMENTS := test/requirements-jazzy.txt -r $(OURS)
PYTHON_VERSION := 3.12
else ifeq ($(ROS),none)
REQUIREMENTS := test/requirements-oldest.txt
PYTHON_VERSION := 3.10
else
REQUIREMENTS := $(OURS)
VENV_OPTIONS := --system-site-packages
endif

# Our message packages only where ROS brings none.
FOUND = $(wildcard $(addsuffix /share/$(1)/package.xml,$(subst :, ,$(AMENT_PREFIX_PATH))))
PACKAGES := . $(foreach package,vision_msgs tf2_msgs,$(if $(call FOUND,$(package)),,underlay/$(package)))

# Directories stand for the list of their files: the installed modules, launch files and so on are
# links, which only need to be laid anew when a file comes or goes.
SOURCES := Makefile CMakeLists.txt package.xml tools/run.sh $(wildcard msg/*.msg cmake/*) \
	$(shell find underlay -type f) \
	$(shell find km3d_ros config launch rviz -type d -not -name __pycache__)

# Two processes run the whole suite, with one thread each. A file stays in one of them.
SUITE := -n 2 --dist loadfile
TESTS ?= $(SUITE)
test test-jazzy test-oldest: export OMP_NUM_THREADS := 1

# Without a sourced ROS distribution and without .venv.
CALLER_PATH := $(PATH)
BARE := env -u ROS_DISTRO -u AMENT_PREFIX_PATH -u PYTHONPATH -u LD_LIBRARY_PATH PATH="$(CALLER_PATH)"

export PATH := $(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)$(addprefix :,$(PYTHONPATH))
export LD_LIBRARY_PATH := $(VENV)/lib$(addprefix :,$(LD_LIBRARY_PATH))
export AMENT_PREFIX_PATH := $(VENV)$(addprefix :,$(AMENT_PREFIX_PATH))

env: $(ENV_DONE)
build: $(BUILD_DONE)

$(ENV_DONE): requirements.txt $(wildcard test/requirements-*.txt)
	$(if $(OTHER_ROS),@echo 'km3d_ros: $(VENV) belongs to another ROS ($(OTHER_ROS)): make clean' >&2; exit 1)
	@python=$$(tools/check_machine.sh $(PYTHON_VERSION)); test -x $(PYTHON) || $$python -m venv $(VENV_OPTIONS) $(VENV)
	@echo 'Installing into $(VENV) ...'
	@$(PYTHON) -m pip install --disable-pip-version-check --quiet -r $(REQUIREMENTS) || { \
		echo 'km3d_ros: pip failed, see above: is there a network, with PyPI in reach?' >&2; exit 1; }
	@echo 'import os, sys; os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)' > \
		$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ros_prefix.pth
	@touch $@

$(BUILD_DONE): $(ENV_DONE) $(SOURCES)
	@tools/check_machine.sh $(PYTHON_VERSION) > /dev/null
	@find $(VENV) -xtype l -delete  # links to modules that are gone
	colcon build --build-base build/$(ROS) --merge-install --symlink-install --install-base $(VENV) --base-paths $(PACKAGES) \
		--cmake-args -DBUILD_TESTING=OFF -DPython3_EXECUTABLE=$(PYTHON)
	@rm -rf $(VENV)/lib/python*/site-packages/km3d_ros-*.egg-info  # pip would remove the build with it
	@for program in km3d km3d_node km3d_tracker; do \
		rm -f $(VENV)/bin/$$program; \
		sed 's#@VENV@#$(VENV)#g; s#@ROOT@#$(CURDIR)#' tools/run.sh > $(VENV)/bin/$$program; \
		chmod +x $(VENV)/bin/$$program; \
	done
	@touch $@

demo: build
	$(PYTHON) -m km3d_ros.demo --out out/demo

test: build
	$(PYTHON) -m pytest $(TESTS)

test-jazzy:
	$(BARE) $(MAKE) test ROS=jazzy-wheels VENV=$(CURDIR)/.venv-jazzy \
		TESTS="$(SUITE) test/package test/node test/launch"

test-oldest: build
	$(BARE) $(MAKE) env ROS=none VENV=$(CURDIR)/.venv-oldest
	$(BARE) PYTHONPATH=$(CURDIR):$(CURDIR)/test $(CURDIR)/.venv-oldest/bin/python -m pytest $(SUITE) \
		-p support.no_ros $(addprefix --ignore=test/,package node launch demo)
	PYTHONPATH=$(PYTHONPATH):$(CURDIR)/test $(PYTHON) -m pytest $(SUITE) -p support.humble test/node

lint: env
	ruff check
	ruff format --check
	lint-imports --no-cache --no-logo

bench: build
	for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(PYTHON) $$benchmark; done

clean:
	rm -rf .venv .venv-jazzy .venv-oldest build log out
	find . -name __pycache__ -prune -exec rm -rf {} +
