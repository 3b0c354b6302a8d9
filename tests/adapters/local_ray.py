"""A local Ray cluster for one test, on machines that are busy or slow: `with cluster(num_cpus=2): ...`."""

import os
from contextlib import contextmanager
from unittest import mock

ATTEMPTS = 6
PATIENCE = {  # a raylet gives its agents 15 seconds whatever is set (ray-project/ray#65983): hence several attempts
    "RAY_raylet_start_wait_time_s": "40",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_niceness": "0",  # Ray's own is 15: beside other work its workers would hardly come up
    "PYTHONDONTWRITEBYTECODE": "",  # the first attempt compiles: the next ones import Ray twice as fast
}


@contextmanager
def cluster(**options):
    """Ray, started with these options of `ray.init`, and stopped in the end. RuntimeError where it does not start."""
    import psutil
    import ray

    own = psutil.Process()
    given = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 100 * 2**20, **options}
    with mock.patch.dict(os.environ, PATIENCE):
        for _ in range(ATTEMPTS):
            before = set(own.children(recursive=True))
            try:
                ray.init(address="local", **given)
                break
            except Exception as error:
                ray.shutdown()
                for left in set(own.children(recursive=True)) - before:  # a failed start leaves its servers behind
                    left.kill()
                last = error
        else:
            raise RuntimeError(f"Ray did not start in {ATTEMPTS} attempts") from last
    try:
        yield ray
    finally:
        ray.shutdown()
