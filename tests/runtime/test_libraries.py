import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime import libraries
from nvfp4_serve.runtime.libraries import check_libraries


def test_a_library_that_is_there_is_no_fault() -> None:
    check_libraries(["libc.so.6"])


def test_a_missing_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"libnot-there.so.9": ("libnot-there9", "not-there-libs")}
    monkeypatch.setattr(libraries, "_PACKAGES", known)

    with pytest.raises(EngineError, match=r"libnot-there\.so\.9") as caught:
        check_libraries(["libc.so.6", "libnot-there.so.9"])

    assert "apt-get install libnot-there9" in caught.value.fix
    assert "cannot open shared object file" in caught.value.evidence[0]
