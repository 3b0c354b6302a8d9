"""What several test files need."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """Sums over several threads have other last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
