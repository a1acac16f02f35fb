"""No test reads or writes what its owner keeps: answers of language models go to a folder of the run."""

import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a background job of a shell has it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALATE_LM_STORE", str(tmp_path_factory.mktemp("lm")))
        patch.delenv("PALATE_LM", raising=False)
        yield
