"""Prove that `make run` on a Ray cluster gives the numbers of a local run, whatever worker is lost.

A cluster of two machines with one core each, which are processes of this one, runs notebooks with
two seeds. While they run, one task's worker is killed, and later a whole machine. All notebooks
must finish, and with seed 0 their numbers must be those of a local run. About ten minutes:
`python tests/proofs/cluster.py 01 03` takes these notebooks instead of 01 and 04.
"""

import os
import signal
import subprocess
import sys
import time

import psutil

from tests.proofs import common

SEEDS = (0, 1)


def run(numbers: list[str], folder, **more: str) -> subprocess.Popen:
    """Start what `make run` starts, in a new copy of the project."""
    common.copy_project(folder)
    env = common.environment(folder / "unused", TQDM_DISABLE="1") | more
    del env["COMPANION_RUNS"]
    command = [sys.executable, "tools/run_notebooks.py", "--only", " ".join(numbers)]
    if more:
        command += ["--seeds", " ".join(map(str, SEEDS))]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def summaries(folder, numbers: list[str]) -> dict:
    """Read the summaries of the notebooks: numbers by seed and notebook."""
    read = {}
    for seed in SEEDS:
        runs = folder / "build" / "quick" / (f"seed-{seed}" if seed else "") / "runs"
        for number in numbers:
            if (runs / common.notebook(number).stem / "summary.json").is_file():
                read[seed, number] = common.summary(runs, number)["numbers"]
    return read


def kernels() -> list[psutil.Process]:
    """List the workers of Ray that have a notebook's kernel."""
    workers = []
    for process in psutil.process_iter(["cmdline"]):
        if any("ipykernel" in word for word in process.info["cmdline"] or ()):
            parent = process.parent()
            if parent and parent.name().startswith("ray::"):
                workers.append(parent)
    return workers


def wait_for_kernels(count: int, process: subprocess.Popen) -> list[psutil.Process]:
    """Wait until `count` notebooks run on the cluster, or all have ended."""
    while len(workers := kernels()) < count and process.poll() is None:
        time.sleep(0.5)
    return workers


def main() -> int:
    """Run locally, run on the cluster with losses, compare."""
    from ray.cluster_utils import Cluster

    began = time.perf_counter()
    numbers = sys.argv[1:] or ["01", "04"]
    local_folder = common.fresh("cluster", "local")
    cluster_folder = common.fresh("cluster", "cluster")
    process = run(numbers, local_folder)
    process.communicate()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    # They have addresses of their own: this process must not belong to the machine that is lost.
    machines = [
        cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{number}") for number in (2, 3)
    ]
    process = run(numbers, cluster_folder, RAY_ADDRESS=cluster.address)
    lost = []
    for worker in wait_for_kernels(2, process)[:1]:
        time.sleep(15)
        os.kill(worker.pid, signal.SIGKILL)
        lost.append("a worker, 15 s into its notebook")
    wait_for_kernels(2, process)
    if process.poll() is None:
        time.sleep(15)
        cluster.remove_node(machines[0], allow_graceful=False)
        lost.append("a machine of the two, while its notebook ran")
    output, _ = process.communicate()
    print(output[-3_000:])
    cluster.shutdown()
    local = summaries(local_folder, numbers)
    remote = summaries(cluster_folder, numbers)
    rows = []
    for seed in SEEDS:
        for number in numbers:
            values = remote.get((seed, number))
            different = common.differences(local[0, number], values) if values else ["all"]
            if seed == 0:
                result = "differs" if different else "as locally"
            else:  # another seed must change something, or it had no effect
                result = "differs from seed 0" if different else "as seed 0"
            good = values and result in ("as locally", "differs from seed 0")
            rows.append(
                {
                    "notebook": common.notebook(number).stem,
                    "seed": seed,
                    "killed meanwhile": "; ".join(lost),
                    "numbers": result,
                    "lost": "nothing" if good else "numbers" if values else "the notebook",
                }
            )
    if len(lost) < 2:
        rows.append({"notebook": "all", "lost": f"only {lost} was killed: too late"})
    return common.report("Notebooks on a Ray cluster", rows, began)


if __name__ == "__main__":
    sys.exit(main())
