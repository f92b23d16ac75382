"""Puts known faults into a copy of the source, one at a time, and expects the tests to fail.

Run by `make mutations`. A fault that no test notices is printed and makes this exit with 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("fgembed", "cli", "export", "index", "recipes", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """One fault: in `file`, `right` becomes `wrong`; `tests` must notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


MUTATIONS = [
    Mutation(
        "temperature dropped",
        "fgembed/losses.py",
        "dim=1) / temperature  #",
        "dim=1)  #",
        "tests/test_losses.py",
    ),
    Mutation(
        "query and key swapped in the loss",
        "fgembed/methods/moco.py",
        "key = self.keys(views[1])",
        "key = self.keys(views[0])",
        "tests/methods/test_moco.py",
    ),
    Mutation(
        "query follows key instead of key query",
        "fgembed/momentum.py",
        "key_parameter.lerp_(query_parameter, 1 - momentum)",
        "query_parameter.lerp_(key_parameter, 1 - momentum)",
        "tests/test_key_queue.py",
    ),
    Mutation(
        "rationale scaled over the batch at inference",
        "fgembed/pooling.py",
        "maps = min_max(self.response(features))",
        'maps = min_max(self.response(features), over="batch")',
        "tests/test_pooling.py",
    ),
    Mutation(
        "rationale scaled over the batch in training",
        "fgembed/losses.py",
        'dims = (1, 2) if over == "picture" else (0, 1, 2)',
        "dims = (0, 1, 2)",
        "tests/test_losses.py tests/methods/test_lcr.py",
    ),
    Mutation(
        "inner product turned into L2 in one kind",
        "index/kinds.py",
        "faiss.METRIC_INNER_PRODUCT",
        "faiss.METRIC_L2",
        "tests/index/test_kinds.py",
    ),
    Mutation(
        "inner product turned into L2 in the flat kind",
        "index/kinds.py",
        "faiss.IndexIDMap2(faiss.IndexFlatIP(",
        "faiss.IndexIDMap2(faiss.IndexFlatL2(",
        "tests/index/test_kinds.py",
    ),
    Mutation(
        "normalisation skipped",
        "fgembed/encoder.py",
        "vectors = F.normalize(self.whitening(vectors), dim=1)",
        "vectors = self.whitening(vectors)",
        "tests/test_encoder.py",
    ),
    Mutation(
        "normalisation skipped before whitening",
        "fgembed/calibration.py",
        "return F.normalize(pooled if levels is None else levels(pooled), dim=1)",
        "return pooled if levels is None else levels(pooled)",
        "tests/test_encoder.py",
    ),
    Mutation(
        "levels joined without their centre",
        "fgembed/calibration.py",
        "torch.split(pooled - self.centre,",
        "torch.split(pooled,",
        "tests/test_calibration.py",
    ),
    Mutation(
        "shrinkage by the mean of all eigenvalues",
        "fgembed/calibration.py",
        "shrinkage * eigenvalues[:kept].mean()",
        "shrinkage * eigenvalues.mean()",
        "tests/test_calibration.py",
    ),
    Mutation(
        "the mirror image left out of the average",
        "fgembed/encoder.py",
        "(2, images.shape[0])).mean(dim=0)",
        "(2, images.shape[0]))[0]",
        "tests/test_encoder.py",
    ),
    Mutation(
        "neighbours found before what all pictures share is taken away",
        "fgembed/methods/neighbours.py",
        "centre = stored.mean(dim=0)",
        "centre = torch.zeros_like(stored[0])",
        "tests/methods/test_neighbours.py",
    ),
    Mutation(
        "neighbours counted while the queue still holds random keys",
        "fgembed/methods/neighbours.py",
        "if int(self.seen) < len(stored) or count == 0:",
        "if count == 0:",
        "tests/methods/test_neighbours.py",
    ),
    Mutation(
        "LoDisc keeps one patch too many",
        "fgembed/methods/lodisc.py",
        "max(1, int(keep * rows.shape[2]))",
        "max(1, int(keep * rows.shape[2]) + 1)",
        "tests/methods/test_lodisc.py",
    ),
    Mutation(
        "LoDisc keeps the least attended patches",
        "fgembed/methods/lodisc.py",
        "kept = strength.topk(",
        "kept = (-strength).topk(",
        "tests/methods/test_lodisc.py",
    ),
    Mutation(
        "MoCo v3's views query their own keys",
        "fgembed/methods/mocov3.py",
        "self.contrast(first, keys[1]) + self.contrast(second, keys[0])",
        "self.contrast(first, keys[0]) + self.contrast(second, keys[1])",
        "tests/methods/test_mocov3.py",
    ),
    Mutation(
        "the teacher sees the student's normalisation",
        "fgembed/methods/ppssl.py",
        "truth = views[2] if self.config.teacher_normalisation else views[0]",
        "truth = views[0]",
        "tests/methods/test_ppssl.py tests/methods/test_ppssl_traps.py",
    ),
    Mutation(
        "IADM looks at the feature map's CAM, not the picture's",
        "fgembed/methods/ppssl.py",
        "target = self._scaled(self._pooled(seen, features))  # (B, h, w)",
        "target = self.cam(contrast, features)",
        "tests/methods/test_ppssl.py tests/methods/test_ppssl_traps.py",
    ),
    Mutation(
        "SynPair's decoded pictures shift the running statistics",
        "fgembed/methods/synpair.py",
        "with statistics_kept(self):",
        "if True:",
        "tests/methods/test_synpair_traps.py",
    ),
    Mutation(
        "SynPair's noise is scaled by each dimension's own deviation",
        "fgembed/methods/synpair.py",
        "config.noise_scale * deviation(rows).mean()",
        "config.noise_scale * deviation(rows)",
        "tests/methods/test_synpair_traps.py",
    ),
    Mutation(
        "SynPair's importance is of the largest dimension, not of the loss",
        "fgembed/methods/synpair.py",
        "torch.autograd.grad(contrast, features,",
        "torch.autograd.grad(code_of(features).amax(dim=1).sum(), features,",
        "tests/methods/test_synpair.py",
    ),
    Mutation(
        "AIS divided by the descriptions too",
        "fgembed/losses.py",
        'return total / (len(target) if reduction == "mean" else target.numel())',
        "return total / target.numel()",
        "tests/methods/test_ppssl.py tests/methods/test_ppssl_traps.py",
    ),
    Mutation(
        "a probe's rate falls an epoch late",
        "fgembed/linear_probe.py",
        "epoch >= m for m",
        "epoch > m for m",
        "tests/test_linear_probe.py",
    ),
    Mutation(
        "a probe trained on all labels where few were asked for",
        "fgembed/linear_probe.py",
        "order = chosen[torch.randperm(len(chosen), generator=self.random)]",
        "order = torch.randperm(len(vectors), generator=self.random)",
        "tests/test_linear_probe.py",
    ),
    Mutation(
        "a later epoch that is only as good taken for better",
        "fgembed/selection.py",
        "found.recall > self.best.recall",
        "found.recall >= self.best.recall",
        "tests/test_selection.py",
    ),
    Mutation(
        "the guard turned round",
        "fgembed/guard.py",
        '"below" if trained < floor else "passed"',
        '"below" if floor < trained else "passed"',
        "tests/test_guard.py",
    ),
]


def copy_source(folder: Path) -> None:
    """Copies what the tests need of the checkout into `folder`."""
    for entry in COPIED:
        source = ROOT / entry
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / entry, symlinks=True, ignore=left_out)
        else:
            shutil.copy(source, folder / entry)


def passes(folder: Path, tests: str) -> bool:
    """Whether the fast ones of the tests pass on the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *tests.split()]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode == 0


def survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the tests still pass with the fault in; they must pass without it."""
    file = folder / mutation.file
    source = file.read_text()
    if source.count(mutation.right) != 1:
        raise SystemExit(f"{mutation.name}: {mutation.file} no longer holds {mutation.right!r}")
    if not passes(folder, mutation.tests):
        raise SystemExit(f"{mutation.name}: {mutation.tests} fails without the fault")
    file.write_text(source.replace(mutation.right, mutation.wrong))
    try:
        return passes(folder, mutation.tests)
    finally:
        file.write_text(source)


def main() -> None:
    """Tries every fault."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_source(folder)
        survivors = []
        for mutation in MUTATIONS:
            survived = survives(mutation, folder)
            sys.stdout.write(f"{'SURVIVED' if survived else 'caught':9} {mutation.name}\n")
            sys.stdout.flush()
            survivors += [mutation.name] * survived
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
