# Every target installs what it needs first; nothing is downloaded twice.
.PHONY: help setup demo test test-all scale check restarts times bench storms openapi host-packages format clean
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.complete
# Four at a time on two cores, as many tests wait; those of a file mostly stay together, as they share what is dear to
# make. What is compiled is kept: the tests start hundreds of processes.
TESTS := PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n 4 --dist worksteal

help:
	@echo "make demo    watch the main job: a certificate opens a session on a real sshd, a revocation closes the door"
	@echo "make test    set up everything and run every test      (make test ARGS='-k krl' runs some)"
	@echo "make test-all every test on both databases, 200 logins in a row: longer than make test"
	@echo "make restarts workers, and replicas behind a proxy, are restarted again and again for a minute, under load"
	@echo "make times   what has to happen within so many seconds: stops, lost databases, fail-overs; on an idle machine"
	@echo "make scale   the tests of scale with a million certificates in the database"
	@echo "make bench   speed against its targets, half an hour   (QUICK=1: minutes; writes bench.json, docs/performance.md)"
	@echo "make storms  slow clients, idle ones and far too many: what each does to the service   (ARGS=overload: two minutes)"
	@echo "make check   lint, types and the direction of dependency"
	@echo "make host-packages  what is installed on hosts, as .deb, .rpm and .tar.gz in build/host/"
	@echo "make openapi docs/api/openapi.json, out of the code"
	@echo "make setup   the set-up alone: .venv/ with tms-ca, tms and pytest"

setup: $(STAMP)
	@sh deploy/debian-packages.sh base

$(STAMP): pyproject.toml deploy/constraints.txt deploy/venv.sh
	@sh deploy/venv.sh $(VENV)
	@touch $@

demo: setup
	@sh deploy/debian-packages.sh sshd
	@$(PY) deploy/demo.py

test: setup
	@sh deploy/debian-packages.sh sshd test watch hosts
	@$(TESTS) $(ARGS)

test-all: setup
	@sh deploy/debian-packages.sh sshd test watch hosts
	@TMS_CA_LOGINS_IN_A_ROW=200 $(TESTS) --db=both $(ARGS)

scale: setup
	@sh deploy/debian-packages.sh sshd test
	@TMS_SCALE=1 $(PY) -m pytest tests/scale -s $(ARGS)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

restarts: setup
	@sh deploy/debian-packages.sh test
	@TMS_CA_RESTART_SECONDS=60 $(PY) -m pytest -s tests/serve/test_restart.py tests/serve/test_proxy.py -k E_08

times: setup
	@sh deploy/debian-packages.sh test
	@TMS_TEST_TIMES=1 $(PY) -m pytest tests/serve/test_stop.py tests/serve/test_workers.py tests/replicas \
		tests/load/test_admission.py tests/load/test_idle.py tests/load/test_slow.py $(ARGS)

bench: setup
	@sh deploy/debian-packages.sh bench
	@$(PY) -m tests.bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

storms: setup
	@sh deploy/debian-packages.sh bench storms
	@$(PY) -m tests.load $(ARGS)

openapi: setup
	@$(PY) -m tms_ca.http.openapi > docs/api/openapi.json

host-packages: setup
	@sh deploy/debian-packages.sh packages
	@$(PY) -m deploy.host_packages

clean:
	rm -rf $(VENV) build dist bench.json .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
