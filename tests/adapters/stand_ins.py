"""Stand-ins for packages that need a GPU to be installed and play no part in advantages."""

import importlib.util
import sys
from unittest import mock

NEEDS_A_GPU = ("flash_attn", "deepspeed", "vllm", "ring_flash_attn", "flashinfer")


class StandIns:
    """Imports a missing package and everything below it as modules of mocks."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in NEEDS_A_GPU:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=True)

    def create_module(self, spec):
        return mock.MagicMock(name=spec.name, __spec__=spec, __path__=[], __name__=spec.name)

    def exec_module(self, module):
        pass


def install():
    """After everything that is really installed."""
    sys.meta_path.append(StandIns())
