# Every task, one line each: `make help`. Needs Python 3.11 or newer; the container tests also need Docker.

.DEFAULT_GOAL := help
.PHONY: help run shell manage seed env certs setup add test lint format lock push sbom clean
.PHONY: test-app # remove_accounts
.PHONY: dockerfile eb-bundle # remove_beanstalk
.PHONY: test-unit test-stack test-databases chaos mutants words eb-rehearsal bench # remove_template

# remove_template: begin
# Three processes, each with stacks of its own: half of a container test is waiting. A time limit there leaves room
# for the others. Tests that compare times or rates, or change the engine, have the mark "alone" and run one at a time.
SIDE_BY_SIDE := -n 3 --dist loadgroup -m "not alone"
STACK_TESTS := tests/kafka tests/stack tests/browser tests/eb tests/adopt tests/chaos
# remove_template: end

# Some containers set it. Tests start Python hundreds of times: each would compile the code once more.
unexport PYTHONDONTWRITEBYTECODE

# The project's apps, which have tests of their own.
APPS := $(filter-out ops, $(patsubst %/apps.py, %, $(wildcard */apps.py)))

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.embedded ## Run the site on this machine: SQLite, one uWSGI, no Docker, http://127.0.0.1:8000/
	@.venv/bin/python manage.py run

shell: .venv/.embedded ## Open a Python shell with the models of your apps
	@.venv/bin/python manage.py shell

manage: .venv/.embedded ## Run a management command: ARGS="migrate shop"
	@.venv/bin/python manage.py $(ARGS)

seed: .venv/.embedded ## Add example data by the function seed() of each app's seed.py: APP=shop
	@.venv/bin/python manage.py seed $(APP)

env: .venv/.embedded ## Write a .env with fresh secrets, for docker compose and make run
	@.venv/bin/python manage.py env init

certs: ## Create a local authority and a certificate for https://localhost; FORCE=1 replaces the certificate
	@./stackctl certs $(if $(FORCE),--force)

setup: .venv/.test ## Install all that development needs into .venv

test: lint .venv/.test ## Run all tests: unit tests anywhere, container tests where a Docker Engine runs
	@.venv/bin/pytest $(SIDE_BY_SIDE) $(STACK_TESTS) tests/embedded tests/unit $(APPS)
	@.venv/bin/pytest -m alone tests/stack tests/chaos # remove_template

# remove_accounts: begin
test-app: .venv/.embedded ## Run your apps' tests on SQLite; APP=shop for those of one app
	@for app in $(APP); do [ -e "$${app%%::*}" ] || { \
		echo "There is no '$$app'. Apps: $(APPS). A new one: ./manage.py startapp NAME" >&2; exit 2; }; done
	@.venv/bin/pytest $(or $(APP), $(APPS))

# remove_accounts: end

# remove_template: begin
test-unit: .venv/.test ## Run only the unit tests, your apps' and the stack's
	@# A third of their time is waiting.
	@.venv/bin/pytest -n 3 --dist loadgroup $(APPS) tests/unit

test-stack: .venv/.test ## Run only the container tests; WITH="DB_ENGINE=postgres" on that stack
	@STACK_WITH="$(WITH)" .venv/bin/pytest $(SIDE_BY_SIDE) $(STACK_TESTS)
	@STACK_WITH="$(WITH)" .venv/bin/pytest -m alone tests/stack tests/chaos

test-databases: .venv/.test ## Run the unit tests that use a database on MySQL and PostgreSQL
	@.venv/bin/pytest tests/stack/test_databases.py

chaos: .venv/.test ## Run only the load and fault tests; writes their figures to docs/reliability.md
	@.venv/bin/pytest tests/chaos --reliability docs/reliability.md

mutants: .venv/.test .venv/.mutants ## List the code changes that the unit tests miss: MODULE=ops/throttling.py SAMPLE=50 FLOW=1 DIFF=1 TESTS=...
	@.venv/bin/python -m tests.mutants $(MODULE) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(FLOW),--flow) $(if $(DIFF),--diff) $(if $(TESTS),--tests $(TESTS))

# remove_template: end

lint: .venv/.test ## Run ruff, mypy, import-linter, shellcheck, yamllint, the CI files' linters, hadolint, and ebctl lint
	@tests/lint

format: .venv/.test ## Format the Python code
	@.venv/bin/ruff check --fix --exit-zero --silent .
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --exit-zero --quiet .

lock: .venv/.test ## Lock requirements/*.in into *.txt and install. Keeps the locked versions; UPGRADE=1 takes the newest
	@requirements/lock $(if $(UPGRADE),--upgrade)
	@# Another make: this one has checked .venv/.test already.
	@$(MAKE) --no-print-directory setup

add: ## Add a Python package, and lock and install it, without upgrading others: PACKAGE="httpx>=0.28"
	@[ -n '$(PACKAGE)' ] || { echo 'Name the package: make add PACKAGE=httpx' >&2; exit 2; }
	@cp requirements/project.in requirements/project.in.bak
	@grep -qxF '$(PACKAGE)' requirements/project.in || echo '$(PACKAGE)' >>requirements/project.in
	@if $(MAKE) --no-print-directory lock; then rm requirements/project.in.bak; else \
		mv requirements/project.in.bak requirements/project.in; \
		echo '$(PACKAGE) was not added: see above.' >&2; exit 1; fi

# remove_beanstalk: begin
dockerfile: ## Write Dockerfile: Dockerfile.base and Dockerfile.production joined
	@{ cat Dockerfile.base; echo; cat Dockerfile.production; } >Dockerfile

# remove_beanstalk: end

push: ## Build the production image and push it with SBOM and provenance: IMAGE=registry/name:tag
	@[ -n '$(IMAGE)' ] || { echo 'Name the image: make push IMAGE=registry/name:tag' >&2; exit 2; }
	@# The engine's own builder makes no attestations.
	@docker buildx inspect push >/dev/null 2>&1 || docker buildx create --name push --driver docker-container
	@{ cat Dockerfile.base; echo; cat Dockerfile.production; } | docker buildx build --builder push --pull --push \
		--sbom=true --provenance=mode=max --build-arg RELEASE=$$(git rev-parse --short=12 HEAD) --tag '$(IMAGE)' --file - .
	@docker buildx imagetools inspect '$(IMAGE)' --format '$(IMAGE)@{{.Manifest.Digest}}'

sbom: ## Write var/sbom.json: the packages of the image that runs, in the format of CycloneDX
	@./stackctl sbom --output var/sbom.json

# remove_beanstalk: begin
eb-bundle: ## Write a bundle for `eb deploy --archive`: of a prebuilt image (IMAGE=name@sha256:...), of the worker (WORKER=1)
	@./ebctl bundle $(if $(IMAGE),--image '$(IMAGE)') $(if $(WORKER),--worker)
# remove_beanstalk: end

# remove_template: begin
words: ## List every text that the product shows: FILES="ops api" for those of some folders
	@python3 tools/words.py $(FILES)

eb-rehearsal: .venv/.test ## Rehearse eb create, eb deploy and failing deploys under load, without AWS
	@.venv/bin/pytest tests/eb

bench: .venv/.test ## Measure requests per second and CPU against peers, in one run
	@.venv/bin/python -m benchmarks $(if $(TIERS),--tiers) $(if $(GROWTH),--growth)
# remove_template: end

# var/stackctl: the record of releases of a stack that an earlier stackctl started.
clean: ## Remove .venv, .venv-eb, mutants and what `make run` keeps in var
	rm -rf .venv .venv-eb mutants
	find var -mindepth 1 -maxdepth 1 ! -name .gitignore ! -name stackctl -exec rm -rf {} +

# remove_template: begin
.venv-eb/.eb: requirements/eb.txt
	@echo "Installing requirements/eb.txt into .venv-eb ..." >&2
	@requirements/install eb .venv-eb
# remove_template: end

.venv/.%: requirements/%.txt
	@echo "Installing requirements/$*.txt into .venv ..." >&2
	@requirements/install $*
