import pytest
from llm_parts import Order

from palate.models.llm import caller, pace
from palate.models.llm.session import language_models


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No key, no model and no store of this machine; waits that a test has time for."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "PALATE_LM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PALATE_LM_STORE", str(tmp_path / "kept"))
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.01)


@pytest.fixture
def engines(monkeypatch):
    """Engines by a model's name, found in the place of the real ones."""
    found = {}
    monkeypatch.setattr(caller, "make_engine", lambda spec, timeout, connections: found[spec])
    return found


@pytest.fixture
def engine(engines):
    """The engine of fake:a, made anew with its attributes."""
    engines["fake:a"] = Order()
    return engines["fake:a"]


@pytest.fixture
def session(tmp_path):
    """A session with few workers."""
    with language_models(concurrency=4, retries=2) as opened:
        yield opened
