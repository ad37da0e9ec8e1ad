# Triptych: every target builds the environment it needs. `make help` lists them.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
WORKERS ?= 1
MODEL ?= cifar10
STORE ?= models
# cpu, or cuda: that installs the CUDA build of onnxruntime into an environment of its own.
PROVIDER ?= cpu
# Data set of a training: an archive, a folder, a file; empty: the model's official source.
DATA ?=
# New labelled data that join the training split if they fit: a folder, or s3://...
NEW_DATA ?=
# More options for `triptych-train run`, e.g. TRAIN_ARGS="--preset textbook --seed 1".
TRAIN_ARGS ?=
# Set by `make retrain`.
GO_ON :=
# Data of the shipped models: a folder that holds them (or one of them); empty: official sources.
DATA_DIR ?= $(wildcard data)
# What `make search` searches, and more options for it, e.g. SEARCH_ARGS="--trials 50 --epochs 5".
KIND ?= cnn
SEARCH_ARGS ?=
# Data of `make private`, e.g. PRIVATE_ARGS="--cnn cifar10.tar.gz --lstm tinyshakespeare.txt".
PRIVATE_ARGS ?=
# More options for `make evaluate`, e.g. EVALUATE_ARGS="--model cifar10".
EVALUATE_ARGS ?=
# What `make bench` measures: an ONNX image classifier, or `reference`; empty: the shipped models.
MODEL_FILE ?=
# More options for the benches, e.g. BENCH_ARGS="--rounds 3 --only stream".
BENCH_ARGS ?=
# More options for the open loop, e.g. LOAD_ARGS="--objective classify=20 --only classify mix".
LOAD_ARGS ?=
DURATION ?= 1800
# After SIGTERM: how long requests under way may take to end.
DRAIN_S ?= 25
# TLS: PEM files of the certificate chain and its key, for HTTP, gRPC and the admin port.
TLS_CERT ?=
TLS_KEY ?=
# More options for the audit, e.g. AUDIT_ARGS="--lenient -s osv".
AUDIT_ARGS ?=
# More options for pytest, e.g. TEST_ARGS="--durations 20".
TEST_ARGS ?=
FUZZ_CASES ?= 10000

SERVE := .venv
DEV := .venv-dev
GPU := .venv-gpu
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

export BENTOML_DO_NOT_TRACK := True
# One home per port: a starting server clears the metrics folder in its home.
export BENTOML_HOME ?= $(CURDIR)/.bentoml/$(PORT)

.DEFAULT_GOAL := help
.PHONY: help serve test fuzz check format train retrain search evaluate bench bench-peers bench-swap quantised plane private profile screenshots figures load capacity soak image audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(SERVE)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(PIP) --editable .
	@touch $@

# onnxruntime and onnxruntime-gpu are the same module: the second must be the one that stays.
$(GPU)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python $(PIP) --editable '.[gpu]'
	$(GPU)/bin/python -m pip uninstall --quiet --yes onnxruntime
	$(GPU)/bin/python $(PIP) --force-reinstall --no-deps onnxruntime-gpu
	@touch $@

$(DEV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP) --editable '.[train,dev]'
	@touch $@

SERVING := $(if $(filter cuda,$(PROVIDER)),$(GPU),$(SERVE))
serve: $(SERVING)/ready ## run the service on the shipped models (HOST, PORT, WORKERS, STORE, PROVIDER)
	@mkdir -p $(BENTOML_HOME)
	TRIPTYCH_STORE=$(STORE) TRIPTYCH_WORKERS=$(WORKERS) TRIPTYCH_PROVIDER=$(PROVIDER) \
		TRIPTYCH_DRAIN_TIMEOUT_S=$(DRAIN_S) \
		$(if $(TLS_CERT),TRIPTYCH_TLS_CERT=$(TLS_CERT)) $(if $(TLS_KEY),TRIPTYCH_TLS_KEY=$(TLS_KEY)) \
		exec $(SERVING)/bin/bentoml serve service.app:Triptych --host $(HOST) --port $(PORT) \
		--timeout-keep-alive 75 --timeout-graceful-shutdown $(DRAIN_S) \
		$(if $(TLS_CERT),--ssl-certfile $(TLS_CERT)) $(if $(TLS_KEY),--ssl-keyfile $(TLS_KEY))

test: check ## lint, type-check and run every test, a process a core (TEST_ARGS)
	$(DEV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder $(TEST_ARGS)

fuzz: $(DEV)/ready ## ten thousand damaged or malformed bodies to each protocol (FUZZ_CASES)
	TRIPTYCH_FUZZ_CASES=$(FUZZ_CASES) $(DEV)/bin/python -m pytest --timeout 1800 tests/fuzz $(TEST_ARGS)

check: $(DEV)/ready ## lint and type-check
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

format: $(DEV)/ready ## format and mend what can be mended
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

train: $(DEV)/ready ## train, export, verify, evaluate, gate and publish MODEL (DATA, NEW_DATA, TRAIN_ARGS)
	$(DEV)/bin/triptych-train run --model $(MODEL) --store $(STORE) \
		$(if $(DATA),--data $(DATA)) $(if $(NEW_DATA),--new-data $(NEW_DATA)) $(GO_ON) $(TRAIN_ARGS)

retrain: GO_ON := --resume auto
retrain: train ## the same, or go on with one that was broken off: a running service swaps by itself

search: $(DEV)/ready ## look for better settings of KIND (DATA, SEARCH_ARGS); report in runs/search/
	$(DEV)/bin/triptych-train search --kind $(KIND) --store $(STORE) \
		$(if $(DATA),--data $(DATA)) $(SEARCH_ARGS)

private: $(DEV)/ready ## what private training costs, into docs/private.md (PRIVATE_ARGS names the data)
	$(DEV)/bin/python -m tests.bench.privacy $(PRIVATE_ARGS)

evaluate: $(DEV)/ready ## measure the published models again and compare with their manifests (DATA_DIR)
	$(DEV)/bin/triptych-train reproduce --store $(STORE) \
		$(if $(DATA_DIR),--data $(DATA_DIR)) $(EVALUATE_ARGS)

bench-swap: $(DEV)/ready ## how long a swap takes, and what it adds to latency
	$(DEV)/bin/python -m tests.bench.swaps --store $(STORE) $(BENCH_ARGS)

quantised: $(DEV)/ready ## int8 beside float32: what it loses, how much faster it is, that rows do not mix (DATA_DIR)
	$(DEV)/bin/python -m tests.bench.quantised --store $(STORE) $(if $(DATA_DIR),--data $(DATA_DIR))

bench: $(DEV)/ready ## throughput, latency and CPU cost over HTTP beside the bare loop (MODEL_FILE)
	$(DEV)/bin/python -m tests.bench $(if $(MODEL_FILE),--model-file $(MODEL_FILE)) $(BENCH_ARGS)

bench-peers: $(DEV)/ready ## the same work behind other servers, each built under .bench/ (MODEL_FILE)
	$(DEV)/bin/python -m tests.bench.peers $(if $(MODEL_FILE),--model-file $(MODEL_FILE)) $(BENCH_ARGS)

plane: $(DEV)/ready ## accuracy against speed, published networks beside the shipped classifiers
	$(DEV)/bin/python -m tests.bench.plane --store $(STORE) $(BENCH_ARGS)

dashboard: $(DEV)/ready ## draw the Grafana dashboard into docs/dashboard.png (needs prometheus)
	$(DEV)/bin/python -m tests.bench.dashboard --store $(STORE) $(BENCH_ARGS)

profile: $(DEV)/ready ## where the worker's time goes under load; `make bench` takes it into its report
	$(DEV)/bin/python -m tests.bench.profile

screenshots: $(DEV)/ready ## pictures of the page with the shipped models, docs/page*.png
	$(DEV)/bin/python -m tests.bench.screenshots

figures: $(DEV)/ready ## write the README's figures from what was measured
	$(DEV)/bin/python -m tests.bench.readme

load: $(DEV)/ready ## load a running service, users and an open loop; reports in reports/ (HOST, PORT, LOAD_ARGS)
	HOST=$(HOST) PORT=$(PORT) tests/bench/load/run.sh $(DEV)/bin/locust
	$(DEV)/bin/python -m tests.bench.load run --host $(HOST) --port $(PORT) $(LOAD_ARGS)

capacity: $(DEV)/ready ## the highest rates within an objective, costs of batches, overload; into docs/ (LOAD_ARGS)
	$(DEV)/bin/python -m tests.bench.load capacity --store $(STORE) $(LOAD_ARGS)

soak: $(DEV)/ready ## a mixed load for long: memory, descriptors, p99; into docs/ (DURATION in seconds)
	$(DEV)/bin/python -m tests.bench.load soak --store $(STORE) --duration-s $(DURATION)

image: $(DEV)/ready ## build the container image, run it and check its answers
	deploy/image.sh
	deploy/check_image.sh

audit: $(DEV)/ready ## known vulnerabilities in the pinned packages (AUDIT_ARGS)
	$(DEV)/bin/python deploy/audit.py $(AUDIT_ARGS)

clean: ## remove environments and caches; keeps models, runs and data
	rm -rf $(SERVE) $(DEV) $(GPU) .bentoml .bench .mypy_cache .ruff_cache .pytest_cache build *.egg-info
