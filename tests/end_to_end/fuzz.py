"""Command lines that nobody in their right mind would give, and what must hold of each.

    python -m tests.end_to_end.fuzz --cases 10000 --seed 1

Each is run in a fork of a warm process, in a folder of its own, with its run executed in the same process. It must be
a run that ends, or one line and exit code 2 and nothing written; never a traceback, and never a file elsewhere than in
the results folder. Prints the command lines of which that is not so."""

import argparse
import json
import os
import random
import shlex
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.forks import in_a_fork, warm_up

BASE = (
    "task.length=5", "cell.hidden_size=3", "training.batch_size=2", "training.max_steps=3", "training.evaluate_every=2",
    "training.evaluation_size=2", "training.max_seconds=2", "timing=none", "tracking=none",
)  # fmt: skip

KEYS = (
    "cell", "cell._target_", "cell.name", "cell.hidden_size", "cell.backend", "cell.bias", "cell.initialization",
    "cell.forget_bias", "cell.score", "cell.nonlinearity", "cell.layer", "cell.nothing", "cell._args_",
    "cell._partial_",
    "task", "task._target_", "task.name", "task.length", "task.delay", "task.symbols", "task.span", "task.solved_mse",
    "training", "training.optimizer", "training.optimizer_options", "training.learning_rate", "training.clip_norm",
    "training.batch_size", "training.max_steps", "training.max_samples", "training.max_seconds",
    "training.evaluate_every", "training.evaluation_size", "training.solved_evaluations",
    "training.optimizer_options.lr",
    "timing", "timing.enabled", "timing.rounds", "timing.backends", "timing.max_seconds",
    "tracking", "tracking.mode", "tracking.project", "tracking.entity", "tracking.tags", "tracking.api_key",
    "checkpoint", "checkpoint.seconds", "checkpoint.steps", "setting", "sweep", "launch",
    "name", "seed", "device", "dtype", "threads", "allocator", "memory_gb", "gpus", "retry", "train", "horizon",
    "part", "parts", "scale", "scales", "claims", "reference", "exclude",
    "schema", "defaults", "_target_", "", ".", "..", "a.b.c.d", "cell.", ".cell", "cell..name",
    "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir",
    "hydra.job.name", "hydra.job.env_set.HOME", "hydra.mode", "hydra.verbose", "hydra.searchpath",
    "hydra.sweeper.params", "hydra.sweeper.max_batch_size", "hydra.callbacks", "hydra.callbacks.sweep",
    "hydra.callbacks.sweep._target_", "hydra.launcher", "hydra/launcher", "hydra/job_logging", "hydra/sweeper",
    "hydra.runtime.cwd", "hydra.runtime.output_dir", "hydra", "cell@task", "task@cell.inner",
)  # fmt: skip
PREFIXES = ("", "", "", "", "+", "++", "~")
VALUES = (
    "", "null", "true", "no", "0", "-1", "1", "2", "3", "1.5", "-0.0", "1e400", "nan", "-inf", "inf", "1e-300", "1_0",
    "99999999999999999999", "-9223372036854775809", "2147483648", "1e9", "0x10", "1j",
    "[]", "[1]", "[[[[[[[[]]]]]]]]", "{}", "{a: 1}", "{a: {b: {c: []}}}", "{lr: 1}", "{weight_decay: 0.1}", "{1: 2}",
    "lstm", "gru", "copy", "adding", "Adam", "SGD", "Adadelta", "SparseAdam", "Muon", "Rprop", "ASGD", "quick", "smoke",
    "none", "default", "cpu", "cuda", "cuda:0", "meta", "cpu:1", "float64", "float16", "loop", "torch", "native",
    "triton",
    "failed", "diverged", "dot", "uniform", "orthogonal", "online", "serial", "RUN", "MULTIRUN", "ray", "basic",
    "'a b'", "'${'", "'}'", "\\", "'\\'", "\"", "'", "`id`", "$(id)", ";", "|", "&", "a;b", "a|b", "'a\nb'", "'\r'",
    "'\t'",
    "'\x1b[31mred'", "é", "日本", "\U0001f600", "'\u202e'", "\ud800", "'\x7f'", "x" * 300, "'" + "y" * 5000 + "'",
    "'a/../../b'", "'../../escape'", "..", ".", "/", "~", "'~/x'", "'./x'", "'x/'", "CON", ".hidden", "-x", "'a\\b'",
    "'<script>'", "'**bold**'", "'[a](b)'", "'{{7*7}}'", "%s", "%n", "'{0}'",
    "${name}", "${seed}", "${nothing}", "${oc.env:HOME}", "${oc.env:NOTHING}", "${hydra:runtime.cwd}", "${.}", "${..}",
    "${cell}", "${results_dir}", "${oc.decode:[}", "${oc.create:{a: 1}}", "${now:%Y}", "???", "'???'",
    "1,2", "lstm,gru", "0,1,x", "range(0,3)", "range(0,1000000000)", "range(0,3,0)", "choice(1,2)", "glob(*)",
    "interval(0,1)",
    "shuffle(1,2)", "sort(2,1)", "str(1)", "int(1.5)", "bool(x)", "json_str(x)", "a,b,", ",", "tag(a,1)",
    "extend_list(1)",
    "cells.LSTM", "cells.Cell", "cells", "tasks.Adding", "tasks.Task", "builtins.dict", "builtins.print",
    "builtins.exit",
    "os._exit", "os.getcwd", "sys.exit", "nowhere.Cell", "cells.LSTM.step", "torch.nn.LSTM", "torch.nn.Linear",
    "tests.bench.broken.Minimal", "tests.bench.broken.Exploding", "tests.bench.broken.Leaving", "...", "a..b", "1.2",
    "torch",
)  # fmt: skip
FINE = (
    "cell=gru", "cell=rnn", "cell=peephole_lstm", "cell=attention_lstm", "task=copy task.delay=3", "seed=7",
    "name=other",
    "dtype=float64", "training.optimizer=SGD", "training.clip_norm=null", "cell.backend=loop", "train=true",
    "device=cpu",
    "+cell.name=mine", "+task.name=mine", "memory_gb=3", "allocator=system", "checkpoint.steps=1",
    "tracking.tags=[a,b]",
    "cell._target_=tests.bench.broken.Minimal", "training.learning_rate=1e30", "results_dir=results/deeper",
)  # fmt: skip
WHOLE = (
    "", "=", "==", "gru", "-", "--", "-m", "--multirun", "--nonsense", "--config-dir=nowhere", "--config-name=nothing",
    "--config-path=/nowhere", "+sweep=smoke", "+sweep=../quick", "+launch=serial", "+launch=..", "~cell", "~task",
    "~training",
    "~name", "~seed", "~hydra.callbacks", "~hydra.callbacks.sweep", "--cfg=job", "--info", "--resolve", "--package=x",
    "-c", "job", "\x01", "a=b=c", "seed=1=2", "+a=1", "++a=1", "@=1", "a@b=1", "a:b=1",
    "seed=0 cell=gru", "'seed=0'", "cell=[lstm,gru]", "cell={lstm}", "+hydra.x=1", "hydra.sweep=1", "hydra=1",
    "task=[copy]",
    "task=copy", "task=copy task.delay=3", "cell=torchrecurrent", "cell=attention_lstm", "training=nothing",
    "cell=../cell/gru",
    "cell=/gru", "cell=gru.yaml", "task=null", "cell=null", "timing=null", "tracking=null", "-m cell=lstm,gru",
    "checkpoint=none",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What a command line led to; `wrong` says which promise was broken."""

    arguments: list[str]
    code: int | None
    said: str
    wrong: str | None


def command_line(seed: int) -> list[str]:
    """Return the arguments of one case: those of a short run, and one to three that are odd."""
    chance = random.Random(seed)
    odd: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if chance.random() < 0.12:
            odd += shlex.split(chance.choice(WHOLE)) if chance.random() < 0.5 else [chance.choice(WHOLE)]
            continue
        key, value = chance.choice(KEYS), chance.choice(VALUES)
        if chance.random() < 0.15:
            value = mutate(value, chance)
        if chance.random() < 0.05:
            key = mutate(key, chance)
        sign = "" if chance.random() < 0.03 else "="
        odd.append(f"{chance.choice(PREFIXES)}{key}{sign}{value}")
    fine = chance.sample(FINE, chance.choice((0, 0, 1, 2)))
    odd = [] if chance.random() < 0.1 and fine else odd
    several = ["-m"] if chance.random() < 0.15 else []
    return [*several, *BASE, *" ".join(fine).split(), *odd]


def mutate(text: str, chance: random.Random) -> str:
    """Return a text with some characters exchanged, doubled, dropped or added."""
    letters = list(text)
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(letters))
        new = chance.choice("=,.:{}[]()$@~+-!*\\'\"/ \t\n%#&0159aZé\x07\u200b")
        letters[at : at + chance.randint(0, 1)] = [new] * chance.randint(0, 2)
    return "".join(letters)


def tree(folder: Path) -> dict[str, str]:
    """Return what is in a folder, but for the results folder in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes().hex() if path.is_file() else "folder"
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[:2] != ("work", "results")
    }


def run_case(seed: int) -> Case:
    """Run one case and judge it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root = Path(name)
        (root / "work").mkdir()
        (root / "bystander").write_text("untouched")
        before = tree(root)
        arguments = command_line(seed)
        code, _, said = in_a_fork(["results_dir=results", *arguments], root / "work", memory_bytes=4 << 30)
        wrong = judge(code, said, root / "work" / "results")
        if wrong is None and tree(root) != before:
            wrong = f"wrote elsewhere: {sorted(set(tree(root)) ^ set(before))[:3]}"
        return Case(arguments, code, said, wrong)


def judge(code: int | None, said: str, results: Path) -> str | None:
    """Say which promise is broken, if one is."""
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    statuses = {json.loads(path.read_text())["status"] for path in results.rglob("result.json")}
    if "Traceback" in said:
        return "a traceback"
    if "\x1b" in said or "\x07" in said:
        return "a terminal is told to do something"
    if code == 2:
        if len(errors) != 1 or len(lines) != 1:
            return f"refused, in {len(lines)} lines of which {len(errors)} are errors"
        if len(said) > 1000:
            return "refused at too great a length"
        return "refused, and wrote something" if results.exists() else None
    if code == 1:
        return None if statuses & {"failed", "out_of_memory"} else "failed without an outcome"
    if code != 0:
        return f"ended with {code}"
    if errors:
        return "ended well, with an error"
    half = [path.parent for path in results.rglob("runs/*/config.yaml") if not (path.parent / "result.json").exists()]
    return f"half a run: {half[0].name}" if half else None


def main() -> None:
    """Run cases and print those that break a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    warm_up()
    outcomes: Counter[str] = Counter()
    start = arguments.seed * 1_000_000
    with ProcessPoolExecutor(arguments.processes, initializer=warm_up) as pool:
        for number, case in enumerate(pool.map(run_case, range(start, start + arguments.cases), chunksize=20)):
            outcomes[f"exit code {case.code}" if case.wrong is None else "wrong"] += 1
            if case.wrong:
                shown = " ".join(
                    shlex.quote(word) for word in case.arguments[len(BASE) - (case.arguments[0] != "-m") :]
                )
                print(f"case {start + number}: {case.wrong}\n  {shown!r}\n  {case.said[-600:]!r}", flush=True)
    print(dict(outcomes))
    raise SystemExit(int(outcomes["wrong"] > 0))


if __name__ == "__main__":
    main()
