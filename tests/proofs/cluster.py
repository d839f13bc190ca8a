"""Prove that `make run` on a Ray cluster gives the numbers of this machine, whatever worker is lost.

A cluster of two machines with one core each, which are processes of this one, runs notebooks with two
seeds. While they run, one task's worker is killed, and later a whole machine. Then all must have been done,
and with seed 0 the numbers must be those of the notebooks run here. About ten minutes: `python
tests/proofs/cluster.py 01 03` takes these notebooks instead of 01 and 04.
"""

import os
import signal
import subprocess
import sys
import time

import psutil

from tests.proofs import common

SEEDS = (0, 1)


def run(numbers: list[str], place, **more: str) -> subprocess.Popen:
    """Start what `make run` starts, in a copy of the project of its own."""
    common.copy_project(place)
    env = common.environment(place / "unused", TQDM_DISABLE="1") | more
    del env["COMPANION_RUNS"]
    command = [sys.executable, "tools/run_notebooks.py", "--only", " ".join(numbers)]
    if more:
        command += ["--seeds", " ".join(map(str, SEEDS))]
    return subprocess.Popen(
        command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def summaries(place, numbers: list[str]) -> dict:
    """Read what the notebooks left: numbers by seed and notebook."""
    found = {}
    for seed in SEEDS:
        runs = place / "build" / "quick" / (f"seed-{seed}" if seed else "") / "runs"
        for number in numbers:
            if (runs / common.notebook(number).stem / "summary.json").is_file():
                found[seed, number] = common.summary(runs, number)["numbers"]
    return found


def kernels() -> list[psutil.Process]:
    """List the workers of Ray that have a notebook's kernel."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("ipykernel" in word for word in process.info["cmdline"] or ()):
            parent = process.parent()
            if parent and parent.name().startswith("ray::"):
                found.append(parent)
    return found


def wait_for_kernels(count: int, process: subprocess.Popen) -> list[psutil.Process]:
    """Wait until so many notebooks run on the cluster, or all is over."""
    while len(found := kernels()) < count and process.poll() is None:
        time.sleep(0.5)
    return found


def main() -> int:
    """Run here, run there with losses, compare."""
    from ray.cluster_utils import Cluster

    began, numbers = time.perf_counter(), sys.argv[1:] or ["01", "04"]
    here, there = common.fresh("cluster", "here"), common.fresh("cluster", "there")
    process = run(numbers, here)
    process.communicate()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    # With addresses of their own: the one who asks must not sit on the machine that is lost.
    machines = [
        cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{place}") for place in (2, 3)
    ]
    process, lost = run(numbers, there, RAY_ADDRESS=cluster.address), []
    for worker in wait_for_kernels(2, process)[:1]:
        time.sleep(15)
        os.kill(worker.pid, signal.SIGKILL)
        lost.append("a worker, 15 s into its notebook")
    wait_for_kernels(2, process)
    if process.poll() is None:
        time.sleep(15)
        cluster.remove_node(machines[0], allow_graceful=False)
        lost.append("a machine of the two, while its notebook ran")
    said, _ = process.communicate()
    print(said[-3_000:])
    cluster.shutdown()
    alone, found, rows = summaries(here, numbers), summaries(there, numbers), []
    for seed in SEEDS:
        for number in numbers:
            numbers_there = found.get((seed, number))
            different = (
                common.differences(alone[0, number], numbers_there) if numbers_there else ["all"]
            )
            if seed == 0:
                result = "differs" if different else "as here"
            else:  # another seed must change something, or it had no effect
                result = "differs from seed 0" if different else "as seed 0"
            good = numbers_there and result in ("as here", "differs from seed 0")
            rows.append(
                {
                    "notebook": common.notebook(number).stem,
                    "seed": seed,
                    "killed meanwhile": "; ".join(lost),
                    "numbers": result,
                    "lost": "nothing" if good else "numbers" if numbers_there else "the notebook",
                }
            )
    if len(lost) < 2:
        rows.append({"notebook": "all", "lost": f"only {lost} was killed: too late"})
    return common.report("Notebooks on a Ray cluster", rows, began)


if __name__ == "__main__":
    sys.exit(main())
