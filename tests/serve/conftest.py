"""What tests of the service share: a small fitted model, and a server that runs with it."""

import pytest
from serve_live import fit_small, serving


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Folder of a small gated model."""
    return fit_small(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def live(model, tmp_path_factory):
    """A server of a module's own, on an empty SQLite file."""
    with serving(f"sqlite:///{tmp_path_factory.mktemp('served')}/palate.db", model) as running:
        yield running


@pytest.fixture(scope="module")
def api(live):
    """A client whose key may do everything."""
    with live.client() as client:
        yield client
